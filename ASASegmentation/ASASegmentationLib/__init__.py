"""The clinic's side of ASA: MRML and Qt. The engine `asa` never imports this package."""

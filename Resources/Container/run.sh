#!/bin/sh
# Entry point of the container. As a BIDS App: DATA OUTPUT participant|group [OPTIONS]; or any command of asa.
case ${1:---help} in
    -h | --help)
        asa --help
        exec asa bids --help
        ;;
    --version | -v) exec asa --version ;;
esac
# A data set is a folder; the commands of asa are words.
if [ -d "$1" ]; then
    exec asa bids "$@"
fi
exec asa "$@"

# Segmentation of brain MRI as a BIDS App, for the CPU. For NVIDIA GPUs add
#     --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu126
# and run with --gpus all. How to run it: docs/how-to/container.md.
ARG PYTHON=3.12

FROM python:${PYTHON}-slim-bookworm AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE.txt CITATION.cff CHANGELOG.md ./
COPY ASASegmentation ASASegmentation
COPY Resources/Models Resources/Models
COPY Resources/Container Resources/Container
RUN TORCH_INDEX="${TORCH_INDEX}" sh Resources/Container/install.sh /opt/asa

FROM python:${PYTHON}-slim-bookworm
LABEL org.opencontainers.image.title="ASA" \
      org.opencontainers.image.description="Segmentation of brain MRI; research use only, not a medical device" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/asa /opt/asa
# What MRML's own library is linked against; the segmentation files for 3D Slicer need it.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends fontconfig libegl1 libfontconfig1 libgl1 libglib2.0-0 libx11-6 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --create-home asa
# The root may be read-only: nothing is cached, and what is temporary goes to /tmp.
ENV PATH=/opt/asa/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 1000:1000
WORKDIR /tmp
ENTRYPOINT ["sh", "/opt/asa/bin/run.sh"]
CMD ["--help"]

# The page in a container, on the processor:
#   docker build -t duet-lens . && docker run --rm -p 7860:7860 -v duet-models:/models duet-lens
# and on an NVIDIA card:
#   docker build -t duet-lens --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 .
#   docker run --rm --gpus all -p 7860:7860 -v duet-models:/models duet-lens
FROM python:3.12-slim-bookworm

# Which build of torch: pip's default one for Linux brings gigabytes of CUDA with it, even where there is no card.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV HOME=/home/user \
    HF_HOME=/models \
    GRADIO_SERVER_NAME=0.0.0.0 \
    GRADIO_SERVER_PORT=7860 \
    GRADIO_ANALYTICS_ENABLED=0 \
    PYTHONUNBUFFERED=1
WORKDIR /srv/duet-lens

# Everything is root's but the visitor's home and the models that are downloaded; a new volume takes over its owner.
RUN useradd --create-home --uid 1000 user && mkdir /models && chown user: /models
COPY requirements.txt constraints.txt ./
# torch alone from its index, which has the rest only in older versions; then the rest, and the CUDA it may ask for.
RUN pip install --no-cache-dir --root-user-action=ignore --no-deps \
        --index-url "$TORCH_INDEX" "$(grep '^torch==' constraints.txt)" \
    && pip install --no-cache-dir --root-user-action=ignore -c constraints.txt -r requirements.txt
COPY . .
RUN python -m compileall -q app.py app duet_core

USER 1000:1000
VOLUME /models
EXPOSE 7860
STOPSIGNAL SIGINT
HEALTHCHECK --interval=30s --timeout=5s --start-period=180s \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['GRADIO_SERVER_PORT'], timeout=4)"]
CMD ["python", "app.py"]

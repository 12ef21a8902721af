#!/bin/sh
# Make the base images where no image registry can be reached, from Debian packages and PyPI wheels:
#
#   deploy/airgap/build.sh [--extra-ca FILE] [--mirror URL] [--suite NAME] [--network NAME] [--force]
#
# They are named in `.env`, which docker-compose reads; lines that are there stay. Needs debootstrap, docker and root.
# Proxies (http_proxy, https_proxy, no_proxy), PIP_INDEX_URL and UV_DEFAULT_INDEX are taken from the environment.
#
#   --extra-ca   certificates (PEM) of a proxy on the way (SSL_CERT_FILE). They are in the image that builds, never in
#                one that runs.
#   --network    the network of `docker build`: default or host (BUILD_NETWORK)
#   --force      build what is there already, too
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd -P)
cd -- "$root"

prefix=undercroft-airgap
extra_ca=${SSL_CERT_FILE:-} mirror=http://deb.debian.org/debian suite=trixie network=${BUILD_NETWORK:-default} is_forced=''

fail() {
    echo "build.sh: $1" >&2
    exit 1
}

while [ $# -gt 0 ]; do
    case $1 in
        --extra-ca | --mirror | --suite | --network) [ $# -ge 2 ] || fail "$1 needs a value" ;;
    esac
    case $1 in
        --extra-ca) extra_ca=$2 && shift ;;
        --mirror) mirror=$2 && shift ;;
        --suite) suite=$2 && shift ;;
        --network) network=$2 && shift ;;
        --force) is_forced=yes ;;
        *) fail "$1 is unknown: see the head of $0" ;;
    esac
    shift
done

[ "$(id -u)" = 0 ] || fail "debootstrap needs root: run it with sudo"
command -v debootstrap >/dev/null || fail "install debootstrap: apt-get install debootstrap"
docker info >/dev/null 2>&1 || fail "no Docker engine answers: install docker.io and start dockerd"
[ -z "$extra_ca" ] || grep -q 'BEGIN CERTIFICATE' "$extra_ca" || fail "$extra_ca holds no PEM certificate"

# A .dockerignore of its own would need BuildKit: the recipes get a context that holds just their files.
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT INT TERM
context=$scratch/context
mkdir -p "$context"

is_needed() {
    [ -n "$is_forced" ] || ! docker image inspect "$1" >/dev/null 2>&1
}

build() {
    target=$1
    shift
    echo "build.sh: $prefix/$target"
    DOCKER_BUILDKIT=0 docker build --quiet --network "$network" --file deploy/airgap/Dockerfile \
        --target "$target" --tag "$prefix/$target" \
        --build-arg BASE_IMAGE="$prefix/debian" --build-arg BUILD_IMAGE="$prefix/python-build" \
        ${http_proxy:+--build-arg http_proxy="$http_proxy"} \
        ${https_proxy:+--build-arg https_proxy="$https_proxy"} \
        ${no_proxy:+--build-arg no_proxy="$no_proxy"} \
        "$@" "$context" >/dev/null
}

debian() {
    echo "build.sh: $prefix/debian ($suite from $mirror)"
    debootstrap --variant=minbase "$suite" "$scratch/debian" "$mirror" >"$scratch/log" 2>&1 ||
        { tail -n 5 "$scratch/log" >&2; fail "debootstrap failed: see the lines above"; }
    rm -rf "$scratch"/debian/var/cache/apt/* "$scratch"/debian/var/lib/apt/lists/*
    tar -C "$scratch/debian" -c . | docker import --change 'CMD ["bash"]' - "$prefix/debian" >/dev/null
}

# The image that builds is the one that runs, and what the network here demands.
python_build() {
    if [ -z "$extra_ca" ]; then
        docker tag "$prefix/python" "$prefix/python-build"
        return
    fi
    echo "build.sh: $prefix/python-build"
    bundle=/etc/ssl/certs/with-extra-ca.crt
    container=$(docker create "$prefix/python" true)
    docker cp "$container:/etc/ssl/certs/ca-certificates.crt" "$scratch/bundle"
    cat "$extra_ca" >>"$scratch/bundle"
    docker cp "$scratch/bundle" "$container:$bundle"
    docker commit --change "ENV SSL_CERT_FILE=$bundle PIP_CERT=$bundle REQUESTS_CA_BUNDLE=$bundle" \
        "$container" "$prefix/python-build" >/dev/null
    docker rm "$container" >/dev/null
}

postgres() {
    mkdir -p "$context/deploy/airgap" "$context/libs/shared"
    cp pyproject.toml uv.lock "$context"
    cp deploy/bootstrap_uv.py "$context/deploy"
    cp deploy/airgap/postgres-entrypoint "$context/deploy/airgap"
    for manifest in gateway libs/* services/*; do
        [ ! -f "$manifest/pyproject.toml" ] ||
            { mkdir -p "$context/$manifest" && cp "$manifest/pyproject.toml" "$context/$manifest"; }
    done
    build postgres ${PIP_INDEX_URL:+--build-arg PIP_INDEX_URL="$PIP_INDEX_URL"} \
        ${UV_DEFAULT_INDEX:+--build-arg UV_DEFAULT_INDEX="$UV_DEFAULT_INDEX"}
}

set_default() {
    touch .env
    grep -q "^$1=" .env || echo "$1=$2" >>.env
}

! is_needed "$prefix/debian" || debian
! is_needed "$prefix/python" || build python
! is_needed "$prefix/python-build" || python_build
! is_needed "$prefix/redis" || build redis
! is_needed "$prefix/postgres" || postgres

set_default PYTHON_IMAGE "$prefix/python"
set_default BUILD_IMAGE "$prefix/python-build"
set_default POSTGRES_IMAGE "$prefix/postgres"
set_default REDIS_IMAGE "$prefix/redis"
echo "build.sh: done; .env names the images for docker-compose"

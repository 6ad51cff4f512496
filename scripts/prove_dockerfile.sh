#!/bin/sh
# Follows the Dockerfile line by line in a clean Debian root and uses the page there, where there is no Docker engine.
#   [ROOT=FOLDER] [MOUNT="FOLDER ..."] sh scripts/prove_dockerfile.sh [BUILD_ARG=VALUE ...]  needs root, debootstrap, ip
# ROOT: a fresh Debian root, to start from a copy of it. MOUNT: folders to show inside, such as a package mirror.
# Debian's own Python stands in for the image's, pip's settings are this machine's, what is copied is what is committed.
set -euf
cd "$(dirname "$0")/.."
if [ -z "${WORK:-}" ]; then # mounts and processes end with the namespaces, the files with us
    WORK=$(mktemp -d) && export WORK && trap 'rm -rf --one-file-system "$WORK"' EXIT
    unshare --mount --pid --fork --kill-child --mount-proc sh "$0" "$@"
    exit
fi
root=$WORK/root folder=/ user=0:0 variables='' arguments='' given="$*" declared='/tmp /home' enter=''

base() { # the Debian release that an image's name ends with, with Python and pip by the names they have in the image
    debian=${1##*-}
    if [ -n "${ROOT:-}" ]; then cp -a "$ROOT" "$root"; else
        debootstrap --variant=minbase --include=python3,python3-pip,ca-certificates "$debian" "$root" >/dev/null
    fi
    find "$root/usr/lib" -name EXTERNALLY-MANAGED -delete
    ln -sf /usr/bin/python3 "$root/usr/local/bin/python"
    for file in /etc/pip.conf /etc/xdg/pip /etc/ssl/certs/ca-certificates.crt /etc/resolv.conf /etc/hosts; do
        [ ! -e $file ] || { mkdir -p "$root${file%/*}" && cp -rLT $file "$root$file"; }
    done
    mount -t proc proc "$root/proc" && mount --rbind /dev "$root/dev"
    for mirror in ${MOUNT:-}; do mkdir -p "$root$mirror" && mount --bind -o ro "$mirror" "$root$mirror"; done
    echo "     Debian $debian and $(chroot "$root" python --version) stand for it"
}

inside() { # COMMAND: run it as the Dockerfile has set user, folder and variables so far
    $enter chroot --userspec="$user" "$root" /usr/bin/env -i --default-signal=INT \
        PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin $(env | grep '^PIP_') sh -c "$variables cd $folder && $1"
}

copy() { # "SOURCE ... TARGET": without what .dockerignore names
    target=$root$folder/${1##* }
    ignored=$(sed 's/.*/:(exclude,glob)& :(exclude,glob)&\/**/' .dockerignore)
    mkdir -p "$target"
    git -c tar.umask=022 archive HEAD -- ${1% *} $ignored | tar -x -C "$target"
}

size() { # of what was made here, without what only shows in it
    du -shx $(for mirror in ${MOUNT:-}; do printf ' --exclude=%s' "$root$mirror"; done) "$root" | cut -f1
}

within() { # SECONDS COMMAND: repeat it until it holds
    limit=$(($(date +%s) + $1)) && shift
    until "$@" 2>/dev/null; do
        [ "$(date +%s)" -lt $limit ] || { echo "This took too long: $*" >&2 && exit 1; }
        sleep 0.2
    done
}

gone() { ! kill -0 "$page"; }

words() { python3 -c 'import json, shlex, sys; print(shlex.join(json.loads(sys.argv[1])))' "$1"; }

follow() { # INSTRUCTION REST
    case $1 in
        FROM) base "$2" ;;
        ARG) arguments="$arguments export $2;" ;;
        ENV) variables="$variables export $2;" ;;
        WORKDIR) folder=$2 && mkdir -p "$root$2" ;;
        USER) user=$2 ;;
        VOLUME) declared="$declared $2" ;;
        COPY) copy "$2" ;;
        RUN) inside "$arguments ${given:+export $given;} $2" ;;
        HEALTHCHECK) health=$(words "${2#*CMD }") ;;
        STOPSIGNAL) signal=$2 ;;
        CMD) start=$(words "$2") ;;
        EXPOSE) ;;
        *) echo "The Dockerfile has $1, which this script cannot follow: teach it." >&2 && exit 1 ;;
    esac
}

sed -e '/^#/d' -e '/^$/d' -e ':a' -e '/\\$/{N;s/\\\n */ /;ba' -e '}' Dockerfile >"$WORK/instructions"
while read -r instruction rest <&3; do
    echo "$instruction $rest" && begun=$(date +%s)
    follow "$instruction" "$rest"
    echo "     $(($(date +%s) - begun)) s, $(size) in all"
done 3<"$WORK/instructions"

echo "Starting the page, with no network but the loopback."
touch "$WORK/started"
enter='unshare --net' && inside "echo \$\$ >/tmp/page && exec $start" &
within 60 test -s "$root/tmp/page"
page=$(cat "$root/tmp/page") begun=$(date +%s)
enter="nsenter --net --target=$page"
$enter ip link set lo up
within 300 inside "$health"
echo "The health check holds after $(($(date +%s) - begun)) s, as $(stat -c 'uid %u' "/proc/$page")."
cat >"$root/tmp/visit.py" <<'END'
from urllib.request import urlopen
from gradio_client import Client, handle_file
address = "http://127.0.0.1:7860/"
print("The page has", len(urlopen(address).read()), "bytes.")
visitor, asked = Client(address, verbose=False), ("How many cats are there?", 78, "duet", "duet-mini")
print("A picture:", visitor.predict(handle_file("assets/examples/example-1.png"), *asked, api_name="/ask")["tokens"])
print("A clip:", visitor.predict(handle_file("assets/examples/clip-1.webp"), *asked, 8, api_name="/ask_clip")["tokens"])
END
inside "python /tmp/visit.py"
begun=$(date +%s)
kill -s "${signal#SIG}" "$page"
within 60 gone
echo "It ended $(($(date +%s) - begun)) s after $signal."
others=$(for place in $declared; do printf ' -path %s -prune -o' "$root$place"; done)
written=$(find "$root" -xdev $others -newer "$WORK/started" ! -type d -print)
enter='' # the page's network ended with it
inside "find / -xdev -type f -writable ! -path '/tmp/*' ! -path '/home/*' 2>/dev/null" >"$WORK/writable" || true
[ -z "$written" ] || { echo "Written outside $declared: $written" >&2 && exit 1; }
[ ! -s "$WORK/writable" ] || { echo "The page could overwrite: $(cat "$WORK/writable")" >&2 && exit 1; }
echo "Nothing was written outside $declared, and nothing else could be."

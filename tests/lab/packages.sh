#!/bin/sh
# Installs the Debian packages that the kernel and docker layers of the tests need, where they are missing.
# As root on a Debian-like system it says which ones and installs them; anywhere else it says which layers will be
# left out. It never fails the build: the tests themselves decide whether a missing layer is an error. LAB=0 skips it.
set -u
PATH=$PATH:/usr/sbin:/sbin
policy=/usr/sbin/policy-rc.d

# need COMMAND PACKAGE: remember the package when the command is missing.
need() { command -v "$1" >/dev/null 2>&1 || case " $wanted " in *" $2 "*) ;; *) wanted="$wanted $2" ;; esac; }

# The image of the lab's containers is made of busybox; the plain busybox package lacks some of these applets.
need_busybox() {
    applets=" $(busybox --list 2>/dev/null | tr '\n' ' ') "
    for applet in httpd nc nslookup wget; do
        case $applets in *" $applet "*) ;; *) wanted="$wanted busybox-static"; return ;; esac
    done
}

# The command-line client is a package of its own from Debian 13 on.
client_package() { if known docker-cli; then echo docker-cli; else echo docker.io; fi; }

known() { apt-cache show --no-all-versions "$1" >/dev/null 2>&1; }

# need_helper NAME: remember the package of Podman's helper of that name, which is in no PATH.
need_helper() { [ -e "/usr/lib/podman/$1" ] || [ -e "/usr/libexec/podman/$1" ] || wanted="$wanted $1"; }

# One package that a system does not have must not keep the others away.
drop_unknown() {
    kept=
    for package in $wanted; do
        if known "$package"; then kept="$kept $package"; else echo "packages.sh: there is no package $package here"; fi
    done
    wanted=$kept
}

all_known() { for package in $wanted; do known "$package" || return 1; done; }

install() { DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $wanted; }

# A policy-rc.d that answers 101 keeps maintainer scripts from starting services (invoke-rc.d(8)): the lab runs an
# engine of its own, and a system-wide one would change this machine's firewall.
without_services() {
    if [ -e "$policy" ]; then "$@"; return; fi
    trap 'rm -f "$policy"' EXIT INT TERM HUP
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy"
    "$@"
    status=$?
    rm -f "$policy"
    trap - EXIT INT TERM HUP
    case " $wanted " in *" docker.io "*) stay_off docker.service docker.socket containerd.service ;; esac
    case " $wanted " in *" podman "*) stay_off podman.socket podman.service podman-restart.service podman-auto-update.timer ;; esac
    case " $wanted " in *" nginx "*) stay_off nginx.service ;; esac
    return $status
}

# What was installed for the lab alone must not start with the next boot either.
stay_off() {
    [ -d /run/systemd/system ] || return 0
    systemctl disable --quiet "$@" 2>/dev/null
    echo "packages.sh: these stay disabled, which 'systemctl enable' changes: $*"
}

[ "${LAB:-1}" = 0 ] && exit 0
wanted=
need ip iproute2; need nsenter util-linux; need setpriv util-linux
need conntrack conntrack; need nft nftables; need iptables iptables; need ethtool ethtool
need nginx nginx; need wrk wrk
need dockerd docker.io; need containerd docker.io
need podman podman; need_helper netavark; need_helper aardvark-dns
need rootlesskit rootlesskit; need slirp4netns slirp4netns; need newuidmap uidmap
need_busybox
if ! command -v docker >/dev/null 2>&1; then need docker "$(client_package)"; fi

if [ "$(id -u)" != 0 ]; then
    echo "packages.sh: not root, so the kernel and docker layers of the tests will be left out"
elif [ -z "$wanted" ]; then
    :
elif ! command -v apt-get >/dev/null 2>&1; then
    echo "packages.sh: no apt-get here; without$wanted some layers of the tests will be left out"
else
    echo "packages.sh: installing for the kernel and docker layers of the tests:$wanted (LAB=0 leaves them out)"
    all_known || { apt-get update -q; drop_unknown; }
    case " $wanted " in *" docker.io "*) need docker "$(client_package)" ;; esac
    without_services install || { apt-get update -q && without_services install; } ||
        echo "packages.sh: could not install$wanted; some layers of the tests will be left out" >&2
fi
exit 0

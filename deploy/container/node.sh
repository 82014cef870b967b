#!/bin/sh
# One node of a small mesh, for containers: makes or joins the mesh at its first start,
# then serves. Tokens pass through a folder that all containers share, which is good
# enough to try things and nothing else.
#
#   MESH_NODE    this node's name
#   MESH_URL     where the others reach it, such as https://hub:8443
#   MESH_SITE    where it stands, such as emea/fr (the primary alone)
#   MESH_INVITE  on the primary: NAME:ROLE:PARENT:SITE of every other node, parents first,
#                separated by spaces
#   MESH_LISTEN  address and port [0.0.0.0:8443]
#   MESH_TOKENS  the shared folder [/tokens]
#   PATCHMESH_DATA  the data folder [/var/lib/patchmesh]
set -eu

export PATCHMESH_DATA="${PATCHMESH_DATA:-/var/lib/patchmesh}"
patchmesh=${PATCHMESH_PROGRAM:-patchmesh}
unset PATCHMESH_PROGRAM
listen=${MESH_LISTEN:-0.0.0.0:8443}
tokens=${MESH_TOKENS:-/tokens}
: "${MESH_NODE:?is not set}" "${MESH_URL:?is not set}"

say() { printf '%s: %s\n' "$MESH_NODE" "$*" >&2; }

# Invites one node, again and again until its parent has joined.
invite() {
    name=$1 role=$2 parent=$3 site=$4
    [ ! -e "$tokens/$name" ] || return 0
    while ! token=$("$patchmesh" --output json invite "$name" --role "$role" --parent "$parent" --site "$site" 2>"$tokens/.$name.problem"); do
        if grep -q 'is taken' "$tokens/.$name.problem"; then
            return 0
        fi
        sleep 1
    done
    printf '%s' "$token" | sed -n 's/.*"token": "\([^"]*\)".*/\1/p' >"$tokens/.$name"
    mv "$tokens/.$name" "$tokens/$name"
    say "invited $name"
}

if [ -n "${MESH_INVITE:-}" ]; then
    if [ ! -e "$PATCHMESH_DATA/format" ]; then
        "$patchmesh" init --name "Demo Company" --node-name "$MESH_NODE" \
            --site "${MESH_SITE:-hq}" --url "$MESH_URL" --listen "$listen" >&2
    fi
    "$patchmesh" serve --listen "$listen" &
    serving=$!
    trap 'kill -TERM "$serving" 2>/dev/null; wait "$serving"; exit' TERM INT
    (
        until "$patchmesh" status >/dev/null 2>&1; do sleep 1; done
        for one in $MESH_INVITE; do
            old_ifs=$IFS
            IFS=:
            # shellcheck disable=SC2086 # parts on purpose
            set -- $one
            IFS=$old_ifs
            invite "$1" "$2" "$3" "$4"
        done
        say "everybody is invited"
    ) &
    wait "$serving"
    exit
fi

if [ ! -e "$PATCHMESH_DATA/identity/cert.pem" ]; then
    say "waiting for a token"
    until [ -s "$tokens/$MESH_NODE" ]; do sleep 1; done
    until "$patchmesh" join - --url "$MESH_URL" --listen "$listen" <"$tokens/$MESH_NODE" >&2; do
        sleep 2
    done
fi
exec "$patchmesh" serve --listen "$listen"

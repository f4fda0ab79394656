# Shared by ci/demo, ci/test and friends: install what is missing, configure, build.
# Sourced, never run. Every step says what it does and why.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# Who runs the scripts of a tree trusts it, whoever owns its folder; git asks to be told.
export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0=$PWD

# What a build needs, and what each is for (docs/dependencies.md has the reasons for the choices).
build_packages=(
    gcc make cmake ninja-build pkg-config # compiler and build system
    libjansson-dev                        # JSON: config.json, tokenizer.json
    libxxhash-dev                         # checksums and content hashes
    libjpeg62-turbo-dev libpng-dev libwebp-dev # picture decoders
    libmsgpack-dev                        # MessagePack of the wire protocol
    libuv1-dev                            # threads and event loop of the host process
    libsodium-dev                         # tokens of the server's users
)
# What the tests need beyond that.
test_packages=(
    libcriterion-dev                      # test framework
    g++                                   # the GPU emulator runs kernels as C++
    clang libclang-rt-14-dev              # libFuzzer and the sanitizers for the fuzz targets
    clang-format clang-tidy git           # ci/lint, on the files git knows
    python3                               # live tests and checks, standard library only
    python3-msgpack                       # the Python client and its tests, live tests of the server
    python3-pip                           # installs the Python client for its tests, from its folder
    systemd procps                        # systemd-analyze reads the unit; /bin/kill, which the unit names
)

say() { printf '\n== %s\n' "$*"; }

install_packages() {
    local missing=()
    local package
    for package in "$@"; do
        if ! dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed'; then
            missing+=("$package")
        fi
    done
    if [ ${#missing[@]} -eq 0 ]; then
        return
    fi
    say "installing Debian packages: ${missing[*]}"
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null; then
            echo "These packages are missing and need root to install: ${missing[*]}" >&2
            echo "Run as root, or install them by hand and call this again." >&2
            exit 1
        fi
        as_root=(sudo)
    fi
    # A mirror caught in the middle of its own update gives lists and packages that do not fit together: both again.
    # A machine that has just started may be busy with its own updates: wait for dpkg's lock.
    local try
    for try in 1 2 3; do
        "${as_root[@]}" apt-get update -qq || true # what counts is whether the packages come
        if "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
            -o DPkg::Lock::Timeout=300 "${missing[@]}" >/dev/null; then
            return
        fi
        echo "apt-get failed, try $try of 3" >&2
        sleep $((try < 3 ? 10 : 0))
    done
    exit 1
}

# build PRESET [TARGET...]
build() {
    local preset=$1
    shift
    say "building: preset $preset"
    mkdir -p build
    cmake --preset "$preset" >"build/configure-$preset.log" 2>&1 ||
        { cat "build/configure-$preset.log" >&2; return 1; }
    if [ $# -gt 0 ]; then
        cmake --build --preset "$preset" --target "$@"
    else
        cmake --build --preset "$preset"
    fi
}

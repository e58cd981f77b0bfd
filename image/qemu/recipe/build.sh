# Builds QEMU with the nitro-enclave machine. Runs in the sandbox, where
#   /recipe             holds this directory (read-only)
#   /source.tar.xz      is the locked source (read-only)
#   /build              is scratch, /out takes the result
# $1 is the number of jobs.
set -eu
jobs=$1

# roms/ is two thirds of the tree: sources of firmware for other machines. Only qboot is wanted of it.
mkdir /build/source /build/object /build/roms /out/firmware
tar -xJf /source.tar.xz -C /build/source --strip-components=1 --no-same-owner \
    --exclude='*/roms/[!q]*' --exclude='*/roms/qemu-palcode'

# The firmware that the machine starts in. It writes the MP tables by which the guest finds its processors
# and its interrupts; SeaBIOS for microvm does not.
CC=gcc-12 meson setup --wrap-mode=nodownload /build/qboot /build/source/roms/qboot
ninja -C /build/qboot bios.bin
cp /build/qboot/bios.bin /out/firmware/qboot.rom

# The option ROM that hands the kernel to the firmware.
cd /build/roms
printf '%s\n' TOPSRC_DIR=/build/source CC=gcc-12 OBJCOPY=objcopy PYTHON=python3 > config.mak
make -f /build/source/pc-bios/optionrom/Makefile linuxboot_dma.bin
cp linuxboot_dma.bin /out/firmware/linuxboot_dma.bin
chmod 644 /out/firmware/*

# The root is the Python environment: no venv, no pip, no wheels.
cp /recipe/mkvenv.py /build/source/python/scripts/mkvenv.py

# The repackaged source lacks the UEFI images, so they cannot be unpacked for the build tree.
sed -i 's/unpack_edk2_blobs = bzip2\.found()/unpack_edk2_blobs = false/' /build/source/meson.build
grep -q '^    unpack_edk2_blobs = false$' /build/source/meson.build

# With devices off by default, the machine pulls in what it needs and nothing else.
cp /recipe/nitro.mak /build/source/configs/devices/x86_64-softmmu/nitro.mak

cd /build/object
/build/source/configure \
    --cc=gcc-12 --host-cc=gcc-12 \
    --target-list=x86_64-softmmu \
    --without-default-features \
    --without-default-devices --with-devices-x86_64=nitro \
    --enable-system --enable-tcg --enable-vhost-user --enable-libcbor --enable-gnutls \
    --enable-trace-backends=nop \
    --disable-docs --disable-werror --disable-install-blobs --disable-debug-info
grep -qx 'CONFIG_NITRO_ENCLAVE=y' x86_64-softmmu-config-devices.mak
ninja -j "$jobs" qemu-system-x86_64

strip -o /out/qemu-system-x86_64 /build/object/qemu-system-x86_64

# Not built right if it does not know the machine.
/out/qemu-system-x86_64 -machine help | grep -q '^nitro-enclave '

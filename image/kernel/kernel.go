// Package kernel builds the enclave's Linux kernel: the pinned source, our patches, a small
// configuration, and a compiler that runs in the sandbox.
//
// The configuration is stated as fragments (config/*.config), each of which asks for options that are
// off by default. The kernel's own configuration program resolves them, and drops without a word what
// it cannot grant; so the result is held three times: every option of a fragment must have come out as
// asked, every rule of the invariants (CheckConfig) must hold, and the whole must equal
// config/resolved.config, which is what a reviewer reads. A build that differs fails.
//
// What AWS's own enclave kernel has proved on Nitro hardware stays: the MP table, ACPI and PCI (with
// pci=off), x2APIC, virtio-mmio devices named on the command line, the KVM clocks and the 8250 console.
// What that kernel has beyond it is gone: modules, BPF, io_uring, namespaces, control groups, block
// devices and file systems, netfilter, IPv6, virtual terminals, input, 32-bit system calls.
//
// The kernel is compressed with gzip. On an emulated processor xz takes 1.7 s more of a boot that takes
// 1.6 s, to save 0.7 MB; lz4 and zstd are no faster than gzip there and need tools that nothing else
// needs.
package kernel

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"strings"
)

// CommandLine is the kernel command line of the enclave image. It is measured (PCR0, PCR1). On Nitro
// the hypervisor, and on QEMU the machine, appends the virtio_mmio.device=… words of its devices.
//
//   - reboot=k: reset through the keyboard controller, which is how an enclave ends itself on Nitro.
//     The reset is two port writes; no keyboard driver is needed for it, and none is built, so AWS's
//     i8042.… words, which would speak to one, are left out.
//   - panic=1: after a panic, reset in one second, so that the parent sees the end and starts anew.
//   - pci=off: there is no PCI bus; do not probe for one.
//   - console=ttyS0: the 8250, which Nitro shows to the parent in debug mode only.
//   - no_timer_check: do not test whether the timer interrupts in time. On a KVM, as Nitro is, the kernel
//     leaves the test out by itself; on an emulator that has to share its processor the test can fail,
//     and that is a panic.
//   - random.trust_cpu=on: credit the processor's generator, as AWS does; the NSM's is credited too.
//   - random.trust_bootloader=off: a seed from whoever loaded the kernel is mixed in, but not credited.
//   - page_alloc.shuffle=1: shuffle the free pages at boot; the option only builds the code.
//
// AWS's "nomodules" is left out too: no such word exists, so the kernel passes it to /init as an
// argument, and this kernel has no modules. So is "quiet": the messages cost less than a tenth of a
// second, and are all there is to see of a boot that fails.
const CommandLine = "reboot=k panic=1 pci=off console=ttyS0 no_timer_check " +
	"random.trust_cpu=on random.trust_bootloader=off page_alloc.shuffle=1"

//go:embed config/*.config patches/*.patch
var files embed.FS

// fragments are the configuration's parts, in the order in which they are joined.
var fragments = []string{"config/platform.config", "config/hardening.config", "config/x86_64.config"}

// resolved is the configuration that the fragments must come to.
const resolved = "config/resolved.config"

// recipeVersion counts changes to the recipe in this package that the files and arguments which Inputs
// hashes do not show.
const recipeVersion = 1

// Inputs returns the hash of all that this package adds to a build: fragments, patches, arguments,
// environment and the recipe's version, as 64 hex digits. With the digests of the source package and
// of the toolchain it names the build's result.
func Inputs() string {
	h := sha256.New()
	fmt.Fprintf(h, "recipe %d\n%q\n%q\n%q\n%q\n", recipeVersion, fragments, environment, makeArguments, unread)
	for _, name := range inputFiles() {
		data := mustRead(name)
		fmt.Fprintf(h, "%s %d\n%s\n", name, len(data), data)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// inputFiles lists the embedded files in sorted order.
func inputFiles() []string {
	names, err := fs.Glob(files, "*/*")
	if err != nil {
		panic(err) // the pattern is constant and well formed
	}
	return names
}

// mustRead returns an embedded file; the compiler has seen to it that it is there.
func mustRead(name string) []byte {
	data, err := files.ReadFile(name)
	if err != nil {
		panic(err)
	}
	return data
}

// fragment returns the fragments as one file.
func fragment() []byte {
	var b strings.Builder
	for _, name := range fragments {
		b.Write(mustRead(name))
	}
	return []byte(b.String())
}

// patches lists the patches in the order in which they are applied.
func patches() []string {
	names, err := fs.Glob(files, "patches/*.patch")
	if err != nil {
		panic(err)
	}
	return names
}

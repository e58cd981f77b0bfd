package main

import "golang.org/x/sys/unix"

// Keystores may take keystoreShare of the memory for their key derivations, which
// the kernel, the programs and what the collector has not yet freed must live
// beside, and at least minKeystoreMemory. In an enclave of 256 MB that is too
// little for scrypt as tools use it (256 MiB), in one of 1.5 GB enough.
const (
	keystoreShare     = 4
	minKeystoreMemory = 32 << 20
)

// keystoreMemory is what key derivations may take on this machine, in bytes.
func keystoreMemory() int64 { return max(totalMemory()/keystoreShare, minKeystoreMemory) }

// totalMemory is that of this machine in bytes, or 0 if it does not tell.
func totalMemory() int64 {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0
	}
	return int64(info.Totalram) * int64(info.Unit)
}

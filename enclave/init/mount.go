package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// A mount is one line of the mount table.
type mount struct {
	source, target, kind string
	flags                uintptr
	data                 string
}

// mountTable returns what init mounts, in order. The ramdisk holds the empty
// directories. What can be written is bounded, because it is memory.
func mountTable() []mount {
	const quiet = unix.MS_NOSUID | unix.MS_NOEXEC
	return []mount{
		{"devtmpfs", "/dev", "devtmpfs", quiet, "mode=0755"},
		{"proc", "/proc", "proc", quiet | unix.MS_NODEV, "hidepid=2"},
		{"sysfs", "/sys", "sysfs", quiet | unix.MS_NODEV | unix.MS_RDONLY, ""},
		{"tmpfs", "/run", "tmpfs", quiet | unix.MS_NODEV, "mode=0755,size=1m,nr_inodes=256"},
		{"tmpfs", "/tmp", "tmpfs", quiet | unix.MS_NODEV, "mode=1777,size=8m,nr_inodes=1024"},
	}
}

// mountFunc is mount(2).
type mountFunc func(source, target, kind string, flags uintptr, data string) error

// mountAll mounts the table.
func mountAll(table []mount, do mountFunc) (string, error) {
	said := ""
	for _, m := range table {
		err := do(m.source, m.target, m.kind, m.flags, m.data)
		// A kernel with DEVTMPFS_MOUNT may have mounted /dev already.
		if err == unix.EBUSY && m.kind == "devtmpfs" {
			err = nil
		}
		if err != nil {
			return "", fmt.Errorf("%s on %s: %w", m.kind, m.target, err)
		}
		said += m.target + " "
	}
	return said[:len(said)-1], nil
}

// sealRoot makes the root, which the kernel unpacked from the ramdisks into
// memory, read-only.
func sealRoot(do mountFunc) error {
	return do("", "/", "", unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, "")
}

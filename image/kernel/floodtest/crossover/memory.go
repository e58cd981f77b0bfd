package crossover

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// A region is a part of the guest's memory that QEMU shares.
type region struct {
	guest, user uint64 // where it starts for the guest, and for QEMU
	data        []byte
	mapping     []byte // what was mapped, data's offset included
}

type memory []region

// mapRegion maps a region of a shared file.
func mapRegion(fd int, guest, user, size, offset uint64) (region, error) {
	const limit = 1 << 40
	if size == 0 || size > limit || offset > limit {
		return region{}, fmt.Errorf("memory region of %d bytes at offset %d", size, offset)
	}
	m, err := unix.Mmap(fd, 0, int(offset+size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return region{}, fmt.Errorf("mapping guest memory: %w", err)
	}
	return region{guest: guest, user: user, data: m[offset:], mapping: m}, nil
}

func (m memory) unmap() error {
	var errs []error
	for _, r := range m {
		errs = append(errs, unix.Munmap(r.mapping))
	}
	return errors.Join(errs...)
}

// guest returns memory by its address in the guest.
func (m memory) guest(address, n uint64) ([]byte, error) {
	return m.find(address, n, func(r region) uint64 { return r.guest })
}

// user returns memory by its address in QEMU.
func (m memory) user(address, n uint64) ([]byte, error) {
	return m.find(address, n, func(r region) uint64 { return r.user })
}

func (m memory) find(address, n uint64, base func(region) uint64) ([]byte, error) {
	for _, r := range m {
		start := address - base(r) // wraps, and is then too large
		if size := uint64(len(r.data)); start < size && n <= size-start {
			return r.data[start : start+n : start+n], nil
		}
	}
	return nil, fmt.Errorf("no shared memory has %d bytes at %#x", n, address)
}

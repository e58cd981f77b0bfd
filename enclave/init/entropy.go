package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"holdfast/enclave/nsm"
)

// generator is the name under which the kernel's NSM driver offers the
// module's entropy (drivers/misc/nsm.c).
const generator = "nsm-hwrng"

// checkGenerator demands that the kernel seeds itself from the module. An
// enclave has few other sources, and the host is near to all of them.
func checkGenerator(sys string) (string, error) {
	path := filepath.Join(sys, "class/misc/hw_random/rng_current")
	content, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	if got := strings.TrimSuffix(string(content), "\n"); got != generator {
		return "", fmt.Errorf("%s: got generator %q, want %q", path, got, generator)
	}
	return "kernel reads " + generator, nil
}

const (
	// seedSize is twice what the kernel's pool needs to be ready (256 bits).
	seedSize = 64

	// seedTimeout is far above what the module takes, and below the driver's
	// own two minutes.
	seedTimeout = 30 * time.Second
)

// seed gives the kernel's pool entropy from the module before any key is
// made. The driver does so too, but when it likes.
func seed(open func() (*nsm.Device, error), credit func([]byte) error) (string, error) {
	device, err := open()
	if err != nil {
		return "", err
	}
	defer func() { _ = device.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), seedTimeout)
	defer cancel()
	random, err := device.Random(ctx, seedSize)
	if err != nil {
		return "", err
	}
	defer clear(random)
	return fmt.Sprintf("credited %d bits", 8*len(random)), credit(random)
}

// creditEntropy stirs random into the kernel's pool and credits all its bits.
func creditEntropy(random []byte) error {
	pool, err := os.OpenFile("/dev/random", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer func() { _ = pool.Close() }()
	info := poolInfo(random)
	defer clear(info)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, pool.Fd(), unix.RNDADDENTROPY, uintptr(unsafe.Pointer(&info[0]))); errno != 0 {
		return os.NewSyscallError("RNDADDENTROPY", errno)
	}
	return nil
}

// poolInfo encodes struct rand_pool_info of linux/random.h: the credit in
// bits, the size in bytes, the bytes.
func poolInfo(random []byte) []byte {
	info := binary.NativeEndian.AppendUint32(nil, uint32(8*len(random)))
	info = binary.NativeEndian.AppendUint32(info, uint32(len(random)))
	return append(info, random...)
}

package nsm

import (
	"context"
	"fmt"

	"github.com/hf/nsm/request"
	"github.com/hf/nsm/response"
)

// RegisterCount is the number of platform configuration registers. 0 to 15
// belong to the hypervisor and are locked before an enclave starts; the rest
// are the enclave's own. Only locked registers appear in a document.
const RegisterCount = 32

// A Register is the state of one platform configuration register.
type Register struct {
	Value  Digest
	Locked bool
}

// A Description is what the module says of itself.
type Description struct {
	ModuleID string // "i-<instance>-enc<enclave>" on Nitro
	Version  string // "major.minor.patch"
	Locked   []int  // indices of the locked registers, as the module lists them
}

// Describe asks the module for its description. A module that measures by
// anything but SHA-384, or has other than [RegisterCount] registers, is an error.
func (d *Device) Describe(ctx context.Context) (Description, error) {
	res, err := d.send(ctx, "DescribeNSM", &request.DescribeNSM{})
	if err != nil {
		return Description{}, err
	}
	got := res.DescribeNSM
	switch {
	case got == nil:
		return Description{}, errOther("DescribeNSM")
	case got.Digest != response.DigestSHA384:
		return Description{}, fmt.Errorf("nsm: DescribeNSM: got digest %q, want %q", got.Digest, response.DigestSHA384)
	case got.MaxPCRs != RegisterCount:
		return Description{}, fmt.Errorf("nsm: DescribeNSM: got %d registers, want %d", got.MaxPCRs, RegisterCount)
	}
	out := Description{
		ModuleID: got.ModuleID,
		Version:  fmt.Sprintf("%d.%d.%d", got.VersionMajor, got.VersionMinor, got.VersionPatch),
	}
	for _, index := range got.LockedPCRs {
		out.Locked = append(out.Locked, int(index))
	}
	return out, nil
}

// DescribePCR reads the register with this index, 0 to [RegisterCount]-1.
func (d *Device) DescribePCR(ctx context.Context, index int) (Register, error) {
	if err := checkIndex("DescribePCR", index); err != nil {
		return Register{}, err
	}
	res, err := d.send(ctx, "DescribePCR", &request.DescribePCR{Index: uint16(index)})
	if err != nil {
		return Register{}, err
	}
	if res.DescribePCR == nil {
		return Register{}, errOther("DescribePCR")
	}
	value, err := parseDigest("DescribePCR", res.DescribePCR.Data)
	return Register{Value: value, Locked: res.DescribePCR.Lock && err == nil}, err
}

// ExtendPCR sets the register to the SHA-384 of its value and data, and
// returns the new value. A locked register gives [ReadOnlyIndex].
func (d *Device) ExtendPCR(ctx context.Context, index int, data Digest) (Digest, error) {
	if err := checkIndex("ExtendPCR", index); err != nil {
		return Digest{}, err
	}
	res, err := d.send(ctx, "ExtendPCR", &request.ExtendPCR{Index: uint16(index), Data: data[:]})
	if err != nil {
		return Digest{}, err
	}
	if res.ExtendPCR == nil {
		return Digest{}, errOther("ExtendPCR")
	}
	return parseDigest("ExtendPCR", res.ExtendPCR.Data)
}

// LockPCR makes the register read-only until the enclave ends, and puts it
// into every later document. A locked register gives [ReadOnlyIndex].
func (d *Device) LockPCR(ctx context.Context, index int) error {
	if err := checkIndex("LockPCR", index); err != nil {
		return err
	}
	res, err := d.send(ctx, "LockPCR", &request.LockPCR{Index: uint16(index)})
	if err == nil && res.LockPCR == nil {
		err = errOther("LockPCR")
	}
	return err
}

func checkIndex(operation string, index int) error {
	if index < 0 || index >= RegisterCount {
		return fmt.Errorf("nsm: %s: got index %d, want 0 to %d", operation, index, RegisterCount-1)
	}
	return nil
}

func parseDigest(operation string, data []byte) (Digest, error) {
	var out Digest
	if len(data) != len(out) {
		return out, fmt.Errorf("nsm: %s: got a value of %d bytes, want %d", operation, len(data), len(out))
	}
	copy(out[:], data)
	return out, nil
}

package nsm

import (
	"context"
	"fmt"

	"github.com/hf/nsm/request"
)

// MaxRandomSize bounds one call of [Device.Random]. The module gives at most
// 256 bytes at a time.
const MaxRandomSize = 1024

// Random returns size bytes of the module's entropy, 1 to [MaxRandomSize].
// It is for the kernel's entropy pool; see the package comment.
func (d *Device) Random(ctx context.Context, size int) ([]byte, error) {
	if size < 1 || size > MaxRandomSize {
		return nil, fmt.Errorf("nsm: GetRandom: got size %d, want 1 to %d", size, MaxRandomSize)
	}
	out := make([]byte, 0, size)
	for len(out) < size {
		res, err := d.send(ctx, "GetRandom", &request.GetRandom{})
		if err != nil {
			return nil, err
		}
		if res.GetRandom == nil {
			return nil, errOther("GetRandom")
		}
		random := res.GetRandom.Random
		if len(random) == 0 {
			return nil, fmt.Errorf("nsm: GetRandom: got no bytes, want at least 1")
		}
		out = append(out, random[:min(len(random), size-len(out))]...)
		clear(random)
	}
	return out, nil
}

package floodtest

import "context"

// SmallFlood is a flood of a few connections, for transports that fail.
func SmallFlood(ctx context.Context, dial Dial) error {
	return load{bulk: 2, storm: 10, closed: 5}.flood(ctx, dial)
}

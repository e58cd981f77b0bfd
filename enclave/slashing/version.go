package slashing

import (
	"context"
	"fmt"
)

// Versioner remembers the highest version of each bundle that it has seen, as
// durably as it remembers duties.
//
// Advance returns nil if no higher version of the bundle was seen, and then this one
// is durable; the version seen last may come again, as after a restart. A lower one
// is an *OlderError. Any other error means that the version was recorded or not, and
// must not be relied upon.
type Versioner interface {
	Advance(ctx context.Context, name string, version uint64) error
}

// OlderError says that a bundle is older than one seen before.
type OlderError struct {
	Name string
	Seen uint64 // the highest version seen
	Got  uint64
}

func (e *OlderError) Error() string {
	return fmt.Sprintf("bundle %q has version %d, but version %d was seen before: an older bundle is not used again", e.Name, e.Got, e.Seen)
}

// CheckVersion is the rule of a Versioner, given the highest version seen, 0 if none.
func CheckVersion(name string, seen, version uint64) error {
	if version < seen {
		return &OlderError{Name: name, Seen: seen, Got: version}
	}
	return nil
}

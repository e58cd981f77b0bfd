package watch

import (
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"holdfast/verify/binding"
)

// An Instance names one run of an enclave: the SHA-384 of its module_id, which
// the security module signs, and of the HPKE key that it made at its start and
// that no other run has. Its TLS key is left out: that may be renewed in a run.
type Instance [sha512.Size384]byte

// NewInstance names the run that a verified document speaks of.
func NewInstance(moduleID string, b binding.Binding) Instance {
	h := sha512.New384()
	fmt.Fprintf(h, "holdfast/instance/v1\x00%d\x00%s", len(moduleID), moduleID)
	h.Write(b.HPKEKey)
	return Instance(h.Sum(nil))
}

// String returns 16 hexadecimal digits, enough to tell instances apart.
func (i Instance) String() string { return hex.EncodeToString(i[:8]) }

// Supplied is an instance that was given keys, or may have been.
type Supplied struct {
	Instance Instance
	URL      string // where it was seen last
	Seen     time.Time

	// Confirmed is false while nobody knows whether the keys arrived.
	Confirmed bool
}

// A Ledger holds which instances of one bundle were supplied, in order. The
// zero value has supplied none.
type Ledger struct {
	supplied    []Supplied
	allowCopies bool

	// elsewhere is the last instance that the address of the last supplied
	// one showed instead of it, since it was seen there.
	elsewhere *Instance
}

// Resume returns a ledger with what was supplied before, oldest first.
func Resume(before ...Supplied) *Ledger { return &Ledger{supplied: slices.Clone(before)} }

// start counts silence from the start of the watch: whatever happened before,
// it was not there to see.
func (l *Ledger) start(now time.Time) {
	if last := l.last(); last != nil {
		last.Seen = now
	}
}

func (l *Ledger) last() *Supplied {
	if len(l.supplied) == 0 {
		return nil
	}
	return &l.supplied[len(l.supplied)-1]
}

// Last returns the instance that was supplied last.
func (l *Ledger) Last() (Supplied, bool) {
	if last := l.last(); last != nil {
		return *last, true
	}
	return Supplied{}, false
}

func (l *Ledger) find(i Instance) *Supplied {
	for n := range l.supplied {
		if l.supplied[n].Instance == i {
			return &l.supplied[n]
		}
	}
	return nil
}

// Has tells whether an instance has its keys for certain.
func (l *Ledger) Has(i Instance) bool {
	s := l.find(i)
	return s != nil && s.Confirmed
}

// Attempted tells whether an instance may have its keys.
func (l *Ledger) Attempted(i Instance) bool { return l.find(i) != nil }

// Saw enters that an address showed an instance. If that was supplied, and
// another one after it, the error is [ErrCopies].
func (l *Ledger) Saw(i Instance, url string, at time.Time) error {
	last := l.last()
	if last == nil {
		return nil
	}
	switch s := l.find(i); {
	case s == nil && url == last.URL:
		l.elsewhere = &i
	case s == last:
		last.URL, last.Seen, l.elsewhere = url, at, nil
	case s != nil && !l.allowCopies:
		return fmt.Errorf("%w: %v, which %v replaced, answers again", ErrCopies, i, last.Instance)
	}
	return nil
}

// Refuse says why an instance must not be supplied now, or "" if it may.
func (l *Ledger) Refuse(i Instance, url string, now time.Time, silence time.Duration) string {
	last := l.last()
	if last == nil || last.Instance == i || l.allowCopies {
		return ""
	}
	if l.elsewhere != nil {
		return "" // its own address shows another instance in its place
	}
	quiet := now.Sub(last.Seen)
	if quiet < silence {
		return fmt.Sprintf("instance %v has the keys and may be alive at %s; it must be gone, or not answer for %v", last.Instance, last.URL, silence)
	}
	return ""
}

// Attempt enters that keys are about to leave for an instance.
func (l *Ledger) Attempt(i Instance, url string, at time.Time) {
	if l.find(i) == nil {
		l.supplied = append(l.supplied, Supplied{Instance: i})
	}
	s := l.find(i)
	s.URL, s.Seen = url, at
	l.elsewhere = nil
}

// Confirm enters that the keys arrived.
func (l *Ledger) Confirm(i Instance) {
	if s := l.find(i); s != nil {
		s.Confirmed = true
	}
}

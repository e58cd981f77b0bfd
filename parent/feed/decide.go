package feed

import (
	"crypto/sha512"
	"time"

	"holdfast/enclave/control/message"
)

// A step is what a feeder does next.
type step int

const (
	rest step = iota // nothing until something changes
	giveBundle
	giveCredentials
)

// renewal is how long before their end an enclave's credentials are replaced. The metadata service has new ones
// five minutes before the old ones end at the latest (EC2 User Guide, "Retrieve security credentials from
// instance metadata"); those of an hour are replaced after forty minutes.
const renewal = 20 * time.Minute

// A digest is the SHA-384 of a bundle's file; zero is no bundle.
type digest [sha512.Size384]byte

// A situation is all that a decision rests on.
type situation struct {
	status message.Status
	now    time.Time

	offered digest // the newest bundle that the source has
	taken   digest // the bundle that this start of the enclave has taken

	hasSource      bool // there are bundles to be had
	hasCredentials bool // there are credentials to be had

	bundleAfter, credentialsAfter time.Time // no attempt before
}

// next decides. A bundle goes before credentials: they are for its KMS key.
func (s situation) next() step {
	switch {
	case s.wantsBundle() && !s.now.Before(s.bundleAfter):
		return giveBundle
	case s.wantsCredentials() && !s.now.Before(s.credentialsAfter):
		return giveCredentials
	}
	return rest
}

func (s situation) wantsBundle() bool { return s.offered != digest{} && s.offered != s.taken }

// wantsCredentials: an enclave calls KMS for a bundle that a KMS key wraps, and, where the parent has no
// bundle to offer, to make one.
func (s situation) wantsCredentials() bool {
	if !s.hasCredentials || (s.hasSource && !namesKMS(s.status.Bundle) && !namesKMS(s.status.Pending)) {
		return false
	}
	until := s.status.CredentialsUntil
	return until == nil || until.Sub(s.now) < renewal
}

func namesKMS(b *message.Bundle) bool { return b != nil && b.KMSKey != "" }

// isFresh tells an enclave that has begun anew: it has no bundle, neither open nor waiting for its key.
func isFresh(s message.Status) bool { return s.Bundle == nil && s.Pending == nil }

package main

import (
	"context"
	"time"

	"holdfast/verify/envelope"
)

// Pauses between tries to open a bundle with KMS. Anything that could change the
// outcome, a bundle or new credentials, ends a pause early.
const (
	firstPause  = time.Second
	longestWait = time.Minute

	// decryptTimeout bounds one try, with the SDK's own retries.
	decryptTimeout = 30 * time.Second
)

// An unsealer asks KMS for the data key of the pending bundle until it has one.
// Its zero value is not usable: see [newUnsealer].
type unsealer struct {
	woken chan struct{}
}

func newUnsealer() unsealer { return unsealer{woken: make(chan struct{}, 1)} }

// wake has the next try begin now.
func (u unsealer) wake() {
	select {
	case u.woken <- struct{}{}:
	default:
	}
}

// unseal runs until ctx ends.
func (a *application) unseal(ctx context.Context) {
	pause := firstPause
	for {
		wait := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			wait.Stop()
			return
		case <-a.unsealer.woken:
			pause = firstPause
		case <-wait.C:
			pause = min(2*pause, longestWait)
		}
		wait.Stop()
		if pending := a.now().pending; pending != nil && pending.KMS != nil {
			a.tryKMS(ctx, pending)
		}
	}
}

// tryKMS asks for one bundle's data key and opens it.
func (a *application) tryKMS(ctx context.Context, pending *envelope.Envelope) {
	err := a.openByKMS(ctx, pending)
	if err == nil || ctx.Err() != nil {
		return
	}
	waits := true // unless a release, or a newer bundle, was faster
	a.set(func(s *situation) {
		if waits = s.pending == pending; waits {
			s.problem = err
		}
	})
	if !waits {
		return
	}
	a.log.Warn("the bundle is not open yet", "name", pending.Name, "version", pending.Version, "error", err)
}

func (a *application) openByKMS(ctx context.Context, pending *envelope.Envelope) error {
	ctx, cancel := context.WithTimeout(ctx, decryptTimeout+openTimeout)
	defer cancel()
	keys, err := a.kms()
	if err != nil {
		return err
	}
	dataKey, err := keys.Decrypt(ctx, pending.KMS.Ciphertext, pending.Context())
	if err != nil {
		return err
	}
	defer dataKey.Wipe()
	a.change.Lock()
	defer a.change.Unlock()
	if a.now().pending != pending {
		return nil // a newer one came, or a release was faster
	}
	return a.open(ctx, pending, dataKey)
}

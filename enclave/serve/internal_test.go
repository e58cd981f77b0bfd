package serve

import (
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// pipeListener hands out one end of a pipe for each Accept.
type pipeListener struct {
	net.Listener
	accepted int
	closed   bool
	fail     error
}

func (l *pipeListener) Accept() (net.Conn, error) {
	if l.fail != nil {
		return nil, l.fail
	}
	l.accepted++
	conn, _ := net.Pipe()
	return conn, nil
}

func (l *pipeListener) Close() error { l.closed = true; return nil }

func TestNoMoreConnectionsAreAcceptedThanThereAreSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := &pipeListener{}
		limited := limit(inner, func() int { return 1 }, 1)
		first, err := limited.Accept()
		if err != nil {
			t.Fatal(err)
		}
		second, err := limited.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if first.(*connection).surplus || !second.(*connection).surplus {
			t.Error("want the second connection to be told that it is one too many")
		}
		third := make(chan error, 1)
		go func() { _, err := limited.Accept(); third <- err }()
		synctest.Wait()
		if inner.accepted != 2 {
			t.Fatalf("got %d connections, want 2", inner.accepted)
		}
		// Closing twice frees one slot, not two.
		_, _ = first.Close(), first.Close()
		if err := <-third; err != nil || inner.accepted != 3 {
			t.Errorf("got %d connections, %v, want 3", inner.accepted, err)
		}
		fourth := make(chan error, 1)
		go func() { _, err := limited.Accept(); fourth <- err }()
		synctest.Wait()
		if inner.accepted != 3 {
			t.Errorf("got %d connections, want 3", inner.accepted)
		}
		_, _ = limited.Close(), limited.Close()
		if err := <-fourth; !errors.Is(err, net.ErrClosed) || !inner.closed {
			t.Errorf("got %v, want %v", err, net.ErrClosed)
		}
	})
}

func TestAFailedAcceptTakesNoSlot(t *testing.T) {
	inner := &pipeListener{fail: errors.New("too many open files")}
	limited := limit(inner, func() int { return 1 }, 0)
	for range 3 {
		if _, err := limited.Accept(); !errors.Is(err, inner.fail) {
			t.Errorf("got %v, want %v", err, inner.fail)
		}
	}
	inner.fail = nil
	if _, err := limited.Accept(); err != nil {
		t.Error(err)
	}
}

func TestACertificateIsValidAroundAClockThatIsSet(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	identity, err := NewIdentity(now)
	if err != nil {
		t.Fatal(err)
	}
	leaf := identity.certificate.Leaf
	if !leaf.NotBefore.Equal(now.Add(-time.Hour)) || !leaf.NotAfter.Equal(now.AddDate(0, 0, 90)) {
		t.Errorf("got %v to %v", leaf.NotBefore, leaf.NotAfter)
	}
	if leaf.IsCA || leaf.SerialNumber.Sign() <= 0 || leaf.SerialNumber.BitLen() > 127 {
		t.Errorf("got authority %t, serial number %v", leaf.IsCA, leaf.SerialNumber)
	}
}

func TestACertificateIsAlwaysValidWhereTheClockIsNotSet(t *testing.T) {
	for _, now := range []time.Time{{}, time.Unix(0, 0), time.Unix(1, 0), clockFloor.Add(-time.Second)} {
		identity, err := NewIdentity(now)
		if err != nil {
			t.Fatal(err)
		}
		leaf := identity.certificate.Leaf
		if leaf.NotBefore.Unix() != 0 || !leaf.NotAfter.Equal(noExpiry) {
			t.Errorf("%v: got %v to %v", now, leaf.NotBefore, leaf.NotAfter)
		}
	}
}

func TestEachStartHasAKeyOfItsOwn(t *testing.T) {
	one, err := NewIdentity(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	two, err := NewIdentity(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if string(one.PublicKey()) == string(two.PublicKey()) {
		t.Error("two identities have one key")
	}
}

func TestAnIdleConnectionOutlivesEveryClientsOwnBound(t *testing.T) {
	const longest = 90 * time.Second // Go's default, and Prysm's
	if idleTimeout <= longest || idleTimeout < 120*time.Second {
		t.Errorf("got %v, want above %v", idleTimeout, longest)
	}
}

func FuzzParseNonce(f *testing.F) {
	f.Add("nonce=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")
	f.Add("nonce=")
	f.Add("")
	f.Fuzz(func(t *testing.T, query string) {
		nonce, err := parseNonce(query)
		if err != nil && nonce != ([32]byte{}) {
			t.Errorf("%q: got %x and %v", query, nonce, err)
		}
		if err == nil && len(query) != len("nonce=")+64 {
			t.Errorf("%q was accepted", query)
		}
	})
}

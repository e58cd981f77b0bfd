package feed_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/enclave/control/client"
	"holdfast/enclave/control/message"
	"holdfast/parent/control/controltest"
	"holdfast/parent/credentials"
	"holdfast/parent/feed"
	"holdfast/parent/source"
	"holdfast/verify/envelope"
)

const planted = "planted-secret"

const withKMS = `{"kms":{"key":"` + controltest.KMSKey + `"}}`

// direct calls the double without a network, so that a test's clock may be false. It fails while it is down.
type direct struct {
	*controltest.Enclave
	mu      sync.Mutex
	down    bool
	refusal error // of bundles
	asked   int   // statuses
	offers  int
}

func (d *direct) set(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
}

func (d *direct) counts() (asked, offers int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked, d.offers
}

var errDown = errors.New("no reply from the guest")

func (d *direct) serve(method, path string, body []byte) (*httptest.ResponseRecorder, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.down {
		return nil, errDown
	}
	switch method + path {
	case "GET/status":
		d.asked++
	case "PUT/bundle":
		if d.offers++; d.refusal != nil {
			return nil, d.refusal
		}
	}
	w := httptest.NewRecorder()
	d.ServeHTTP(w, httptest.NewRequest(method, path, bytes.NewReader(body)))
	if w.Code >= 300 {
		return nil, fmt.Errorf("%d %s", w.Code, w.Body)
	}
	return w, nil
}

func (d *direct) Status(context.Context) (message.Status, error) {
	if _, err := d.serve("GET", "/status", nil); err != nil {
		return message.Status{}, err
	}
	return d.Enclave.Status(), nil
}

func (d *direct) PutBundle(_ context.Context, bundle []byte) (message.Status, error) {
	if _, err := d.serve("PUT", "/bundle", bundle); err != nil {
		return message.Status{}, err
	}
	return d.Enclave.Status(), nil
}

func (d *direct) PutCredentials(_ context.Context, c message.Credentials) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.down {
		return errDown
	}
	body := fmt.Sprintf(`{"access_key_id":%q,"secret_access_key":%q,"session_token":%q,"expiration":%q}`,
		c.AccessKeyID, c.SecretAccessKey, c.SessionToken, c.Expiration.Format(time.RFC3339))
	w := httptest.NewRecorder()
	d.ServeHTTP(w, httptest.NewRequest("PUT", "/credentials", strings.NewReader(body)))
	if w.Code != http.StatusNoContent {
		return fmt.Errorf("%d %s", w.Code, w.Body)
	}
	return nil
}

// shelf is a source of bundles that a test changes.
type shelf struct {
	mu   sync.Mutex
	data []byte
	err  error
}

func (*shelf) String() string { return "the shelf" }

func (s *shelf) put(data []byte, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.data, s.err = data, err
}

func (s *shelf) Get(context.Context) ([]byte, string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.data, string(s.data), s.err
}

// lender gives credentials of an hour, or an error.
type lender struct {
	mu    sync.Mutex
	err   error
	calls int
}

func (l *lender) Get(context.Context) (message.Credentials, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls++
	if l.err != nil {
		return message.Credentials{}, l.err
	}
	return message.Credentials{
		AccessKeyID: fmt.Sprint("ASIA", l.calls), SecretAccessKey: planted, SessionToken: planted,
		Expiration: time.Now().Add(time.Hour),
	}, nil
}

// A bench is a feeder at work, in a bubble whose clock the test drives.
type bench struct {
	*direct
	shelf  *shelf
	lender *lender
	feeder *feed.Feeder
	log    *bytes.Buffer
}

// run feeds while f runs.
func run(t *testing.T, f func(t *testing.T, b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{direct: &direct{Enclave: controltest.New()}, shelf: &shelf{}, lender: &lender{}, log: new(bytes.Buffer)}
		b.shelf.put(controltest.Bundle("hoodi", 1, "{}"), nil)
		feeder, err := feed.New(feed.Config{
			Enclave: b.direct, Bundles: b.shelf, Credentials: b.lender, Poll: 10 * time.Second,
			Log: slog.New(slog.NewTextHandler(b.log, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		b.feeder = feeder
		ctx, cancel := context.WithCancel(t.Context())
		var done sync.WaitGroup
		done.Go(func() { feeder.Run(ctx) })
		f(t, b)
		cancel()
		done.Wait()
		if strings.Contains(b.log.String(), planted) {
			t.Errorf("the log shows a secret:\n%s", b.log)
		}
	})
}

// after lets time pass.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (b *bench) lines(part string) (n int) {
	for line := range strings.Lines(b.log.String()) {
		if strings.Contains(line, part) {
			n++
		}
	}
	return n
}

func TestABundleReachesTheEnclaveOnce(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		after(time.Hour)
		s := b.Enclave.Status()
		if s.State != message.Serving || s.Bundle.Version != 1 {
			t.Errorf("got %+v", s)
		}
		if _, offers := b.counts(); offers != 1 {
			t.Errorf("offered %d times, want once", offers)
		}
		if b.lender.calls != 0 {
			t.Errorf("credentials were fetched for a bundle without a KMS key")
		}
		if n := b.lines("serving"); n != 1 {
			t.Errorf("said %d times that it serves:\n%s", n, b.log)
		}
		if snap := b.feeder.Snapshot(); !snap.Reachable || snap.Offered != 1 || snap.Status.State != message.Serving {
			t.Errorf("snapshot %+v", snap)
		}
	})
}

func TestANewerBundleReachesTheRunningEnclave(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		after(time.Minute)
		b.shelf.put(controltest.Bundle("hoodi", 2, "{}"), nil)
		after(15 * time.Second)
		if s := b.Enclave.Status(); s.Bundle.Version != 2 {
			t.Errorf("version %d serves, want 2", s.Bundle.Version)
		}
	})
}

func TestAnEnclaveThatBeginsAnewIsFedAgain(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.shelf.put(controltest.Bundle("hoodi", 1, withKMS), nil)
		after(time.Minute)
		b.Restart()
		after(10 * time.Second)
		if s := b.Enclave.Status(); s.State != message.Serving || s.CredentialsUntil == nil {
			t.Errorf("ten seconds after its restart: %+v", s)
		}
		if _, offers := b.counts(); offers != 2 {
			t.Errorf("offered %d times, want twice", offers)
		}
	})
}

func TestAnEnclaveThatIsNotThereYetIsAwaited(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.set(func() { b.down = true })
		after(time.Hour)
		if n := b.lines(errDown.Error()); n != 1 {
			t.Errorf("said %d times that it is not reachable:\n%s", n, b.log)
		}
		if snap := b.feeder.Snapshot(); snap.Reachable {
			t.Errorf("snapshot %+v", snap)
		}
		b.set(func() { b.down = false })
		after(10 * time.Second)
		if s := b.Enclave.Status(); s.State != message.Serving {
			t.Errorf("ten seconds after it came: %+v", s)
		}
	})
}

func TestARefusedBundleIsTriedAgainSeldomAndSaidOnce(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.set(func() {
			b.refusal = &client.RefusedError{Code: 409, Reason: "a changed configuration takes a restart"}
		})
		after(time.Hour)
		if _, offers := b.counts(); offers < 60 || offers > 80 {
			t.Errorf("offered %d times in an hour, want about one a minute", offers)
		}
		if n := b.lines("takes a restart"); n != 1 {
			t.Errorf("said %d times:\n%s", n, b.log)
		}
		b.set(func() { b.refusal = nil })
		after(time.Minute + time.Second)
		if s := b.Enclave.Status(); s.State != message.Serving {
			t.Errorf("a minute after it would take it: %+v", s)
		}
	})
}

func TestASourceThatFailsLeavesTheEnclaveAlone(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		after(time.Minute)
		b.shelf.put(nil, errors.New("bucket is gone"))
		after(time.Minute)
		b.shelf.put([]byte("half a bun"), nil)
		after(time.Minute)
		if s := b.Enclave.Status(); s.State != message.Serving || s.Bundle.Version != 1 {
			t.Errorf("got %+v", s)
		}
		if _, offers := b.counts(); offers != 1 {
			t.Errorf("offered %d times, want once", offers)
		}
		for _, part := range []string{"bucket is gone", "envelope"} {
			if n := b.lines(part); n != 1 {
				t.Errorf("said %q %d times:\n%s", part, n, b.log)
			}
		}
		b.shelf.put(controltest.Bundle("hoodi", 2, "{}"), nil)
		after(15 * time.Second)
		if s := b.Enclave.Status(); s.Bundle.Version != 2 {
			t.Errorf("version %d serves, want 2", s.Bundle.Version)
		}
	})
}

func TestCredentialsAreRenewedBeforeTheyEnd(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.shelf.put(controltest.Bundle("hoodi", 1, withKMS), nil)
		after(time.Minute)
		for range 6 * 60 {
			after(time.Minute)
			if left := time.Until(*b.Enclave.Status().CredentialsUntil); left < 19*time.Minute {
				t.Fatalf("credentials have %v left", left)
			}
		}
		if b.lender.calls < 8 || b.lender.calls > 11 {
			t.Errorf("fetched %d times in six hours, want one in 40 minutes", b.lender.calls)
		}
	})
}

func TestCredentialsThatDoNotComeAreAwaited(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.Open = func(_ message.Bundle, c *message.Credentials) error {
			if c == nil {
				return errors.New("no credentials for KMS yet")
			}
			return nil
		}
		b.lender.err = errors.New("no EC2 IMDS role found")
		b.shelf.put(controltest.Bundle("hoodi", 1, withKMS), nil)
		after(time.Hour)
		for _, part := range []string{"no EC2 IMDS role found", "no credentials for KMS yet"} {
			if n := b.lines(part); n != 1 {
				t.Errorf("said %q %d times:\n%s", part, n, b.log)
			}
		}
		b.lender.mu.Lock()
		b.lender.err = nil
		b.lender.mu.Unlock()
		after(time.Minute + time.Second)
		if s := b.Enclave.Status(); s.State != message.Serving {
			t.Errorf("got %+v", s)
		}
	})
}

func TestTheEnclavesProblemIsShownOnceForAllItsRequests(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		tries := 0
		b.Open = func(message.Bundle, *message.Credentials) error {
			tries++
			return fmt.Errorf("KMS: AccessDeniedException, request %08x-1111-2222-3333-444444444444", tries)
		}
		b.shelf.put(controltest.Bundle("hoodi", 1, withKMS), nil)
		for range 5 {
			after(time.Hour)
		}
		if n := b.lines("AccessDeniedException"); n != 1 {
			t.Errorf("said %d times for %d tries:\n%s", n, tries, b.log)
		}
		if tries < 3 {
			t.Errorf("the enclave tried %d times, want more", tries)
		}
	})
}

func TestABundleThatItsObserverRefusesIsNotOffered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, log := &direct{Enclave: controltest.New()}, new(bytes.Buffer)
		s := &shelf{data: controltest.Bundle("hoodi", 1, "{}")}
		feeder, err := feed.New(feed.Config{
			Enclave: d, Bundles: s, Log: slog.New(slog.NewTextHandler(log, nil)),
			OnBundle: func(*envelope.Envelope) error { return errors.New("names no endpoint") },
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		feeder.Run(ctx)
		if _, offers := d.counts(); offers != 0 || !strings.Contains(log.String(), "names no endpoint") {
			t.Errorf("offered %d times; log:\n%s", offers, log)
		}
	})
}

func TestAnIncompleteConfigurationIsRefused(t *testing.T) {
	for _, c := range []feed.Config{{}, {Enclave: &direct{}}, {Log: slog.Default()}} {
		if _, err := feed.New(c); err == nil {
			t.Errorf("%+v was taken", c)
		}
	}
}

var (
	_ source.Source      = (*shelf)(nil)
	_ credentials.Source = (*lender)(nil)
)

// scroll is a log that a test writes.
type scroll struct {
	mu   sync.Mutex
	next message.Logs
	err  error
	seen []uint64
}

func (s *scroll) Logs(_ context.Context, after uint64) (message.Logs, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, after)
	got := s.next
	s.next.Lines, s.next.Dropped = nil, 0
	return got, s.err
}

func TestTheEnclavesLogIsCollected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scroll{next: message.Logs{Lines: []string{"one", "two"}, Next: 2}}
		var got []string
		ctx, cancel := context.WithCancel(t.Context())
		var done sync.WaitGroup
		done.Go(func() { feed.Collect(ctx, s, func(line string) { got = append(got, line) }) })
		after(500 * time.Millisecond)
		for _, next := range []message.Logs{
			{Next: 2}, {Lines: []string{"five"}, Next: 5, Dropped: 2}, {Lines: []string{"anew"}, Next: 1},
		} {
			s.mu.Lock()
			s.next = next
			s.mu.Unlock()
			after(time.Second)
		}
		cancel()
		done.Wait()
		if want := "one two 2 lines were lost five anew"; strings.Join(got, " ") != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if want := "[0 2 2 5]"; fmt.Sprint(s.seen) != want {
			t.Errorf("asked after %v, want %v", s.seen, want)
		}
	})
}

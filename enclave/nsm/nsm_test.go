package nsm_test

import (
	"bytes"
	"context"
	"crypto/sha512"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hf/nsm/request"
	"github.com/hf/nsm/response"

	"holdfast/enclave/nsm"
	"holdfast/enclave/nsm/nsmtest"
)

func newDevice(t *testing.T, options nsmtest.Options) *nsm.Device {
	t.Helper()
	module, err := nsmtest.New(options)
	if err != nil {
		t.Fatal(err)
	}
	return module.Device()
}

// session answers every request with one response.
type session struct {
	response response.Response
	err      error
	fault    any // panicked with, when set
	sent     atomic.Int32
}

func (s *session) Send(request.Request) (response.Response, error) {
	s.sent.Add(1)
	if s.fault != nil {
		panic(s.fault)
	}
	return s.response, s.err
}

func (s *session) Close() error { return nil }

// operations calls every request of a device.
var operations = map[string]func(context.Context, *nsm.Device) error{
	"Attestation": func(ctx context.Context, d *nsm.Device) error { _, err := d.Attest(ctx, nsm.Request{}); return err },
	"GetRandom":   func(ctx context.Context, d *nsm.Device) error { _, err := d.Random(ctx, 16); return err },
	"DescribeNSM": func(ctx context.Context, d *nsm.Device) error { _, err := d.Describe(ctx); return err },
	"DescribePCR": func(ctx context.Context, d *nsm.Device) error { _, err := d.DescribePCR(ctx, 0); return err },
	"ExtendPCR": func(ctx context.Context, d *nsm.Device) error {
		_, err := d.ExtendPCR(ctx, 16, nsm.Digest{})
		return err
	},
	"LockPCR": func(ctx context.Context, d *nsm.Device) error { return d.LockPCR(ctx, 16) },
}

func TestADocumentCarriesTheRequest(t *testing.T) {
	device := newDevice(t, nsmtest.Options{})
	userData, nonce := bytes.Repeat([]byte{0xaa}, nsm.MaxUserDataSize), bytes.Repeat([]byte{0xbb}, nsm.MaxNonceSize)
	publicKey := bytes.Repeat([]byte{0xcc}, nsm.MaxPublicKeySize)
	document, err := device.Attest(t.Context(), nsm.Request{UserData: userData, Nonce: nonce, PublicKey: publicKey})
	if err != nil {
		t.Fatal(err)
	}
	for name, field := range map[string][]byte{"user data": userData, "nonce": nonce, "public key": publicKey} {
		if !bytes.Contains(document, field) {
			t.Errorf("the document lacks the %s", name)
		}
	}
}

func TestARequestBeyondItsBoundsNeverReachesTheModule(t *testing.T) {
	long := func(n int) []byte { return make([]byte, n) }
	tests := map[string]func(*nsm.Device) error{
		"user data": func(d *nsm.Device) error {
			_, err := d.Attest(t.Context(), nsm.Request{UserData: long(513)})
			return err
		},
		"nonce": func(d *nsm.Device) error { _, err := d.Attest(t.Context(), nsm.Request{Nonce: long(513)}); return err },
		"public key": func(d *nsm.Device) error {
			_, err := d.Attest(t.Context(), nsm.Request{PublicKey: long(1025)})
			return err
		},
		"size 0":    func(d *nsm.Device) error { _, err := d.Random(t.Context(), 0); return err },
		"size 1025": func(d *nsm.Device) error { _, err := d.Random(t.Context(), 1025); return err },
		"index -1":  func(d *nsm.Device) error { _, err := d.DescribePCR(t.Context(), -1); return err },
		"index 32":  func(d *nsm.Device) error { _, err := d.ExtendPCR(t.Context(), 32, nsm.Digest{}); return err },
		"index 65568": func(d *nsm.Device) error {
			return d.LockPCR(t.Context(), 65568) // 32 in 16 bits
		},
	}
	for name, call := range tests {
		t.Run(name, func(t *testing.T) {
			s := &session{}
			if err := call(nsm.New(s)); err == nil {
				t.Error("got no error")
			}
			if s.sent.Load() != 0 {
				t.Error("the request was sent")
			}
		})
	}
}

func TestAResponseOfTheWrongShapeIsAnError(t *testing.T) {
	attestation := &response.Attestation{Document: []byte{1}}
	tests := map[string]response.Response{
		"nothing":           {},
		"two parts":         {Attestation: attestation, GetRandom: &response.GetRandom{Random: []byte{1}}},
		"part and error":    {Attestation: attestation, Error: "InvalidArgument"},
		"error":             {Error: response.ECInternalError},
		"locked registers":  {LockPCRs: &response.LockPCRs{}},
		"empty document":    {Attestation: &response.Attestation{}},
		"long document":     {Attestation: &response.Attestation{Document: make([]byte, nsm.MaxDocumentSize+1)}},
		"empty random":      {GetRandom: &response.GetRandom{}},
		"short value":       {DescribePCR: &response.DescribePCR{Data: make([]byte, 47), Lock: true}},
		"long value":        {ExtendPCR: &response.ExtendPCR{Data: make([]byte, 64)}},
		"other digest":      {DescribeNSM: &response.DescribeNSM{Digest: "SHA256", MaxPCRs: 32}},
		"too few registers": {DescribeNSM: &response.DescribeNSM{Digest: "SHA384", MaxPCRs: 16}},
	}
	for name, res := range tests {
		for operation, call := range operations {
			err := call(t.Context(), nsm.New(&session{response: res}))
			if err == nil {
				t.Errorf("%s: %s: got no error", name, operation)
			} else if !strings.Contains(err.Error(), operation) {
				t.Errorf("%s: got %q, want the operation %s named", name, err, operation)
			}
		}
	}
}

func TestAResponseToAnotherRequestIsAnError(t *testing.T) {
	value := make([]byte, sha512.Size384)
	answers := map[string]response.Response{
		"Attestation": {Attestation: &response.Attestation{Document: []byte{1}}},
		"GetRandom":   {GetRandom: &response.GetRandom{Random: []byte{1}}},
		"DescribeNSM": {DescribeNSM: &response.DescribeNSM{Digest: "SHA384", MaxPCRs: 32}},
		"DescribePCR": {DescribePCR: &response.DescribePCR{Data: value}},
		"ExtendPCR":   {ExtendPCR: &response.ExtendPCR{Data: value}},
		"LockPCR":     {LockPCR: &response.LockPCR{}},
	}
	for answered, res := range answers {
		for asked, call := range operations {
			err := call(t.Context(), nsm.New(&session{response: res}))
			if (err == nil) != (asked == answered) {
				t.Errorf("%s answered by %s: got %v", asked, answered, err)
			}
		}
	}
}

func TestAFailedExchangeIsAnErrorWithItsCause(t *testing.T) {
	cause := errors.New("no such device")
	for operation, call := range operations {
		if err := call(t.Context(), nsm.New(&session{err: cause})); !errors.Is(err, cause) {
			t.Errorf("%s: got %v, want %v", operation, err, cause)
		}
	}
}

func TestAPanicInTheExchangeIsAnErrorAndFreesTheTurn(t *testing.T) {
	s := &session{fault: "slice bounds out of range"}
	device := nsm.New(s)
	for range 2 {
		if _, err := device.Attest(t.Context(), nsm.Request{}); err == nil || !strings.Contains(err.Error(), "panicked") {
			t.Errorf("got %v, want the panic", err)
		}
	}
}

func TestCodesAreToldApart(t *testing.T) {
	device := newDevice(t, nsmtest.Options{})
	if err := device.LockPCR(t.Context(), 0); !errors.Is(err, nsm.ReadOnlyIndex) {
		t.Errorf("got %v, want %v", err, nsm.ReadOnlyIndex)
	}
	for _, code := range []nsm.Code{nsm.InvalidIndex, nsm.InvalidArgument, nsm.InvalidOperation, nsm.InputTooLarge, "Unheard-of"} {
		s := &session{response: response.Response{Error: response.ErrorCode(code)}}
		if err := nsm.New(s).LockPCR(t.Context(), 16); !errors.Is(err, code) {
			t.Errorf("got %v, want %v", err, code)
		}
	}
}

func TestRandomIsAsLongAsAsked(t *testing.T) {
	device := newDevice(t, nsmtest.Options{})
	for _, size := range []int{1, 64, 255, 256, 257, 1024} {
		random, err := device.Random(t.Context(), size)
		if err != nil {
			t.Fatal(err)
		}
		if len(random) != size {
			t.Errorf("got %d bytes, want %d", len(random), size)
		}
		if size >= 64 && bytes.Equal(random, make([]byte, size)) {
			t.Errorf("got %d zeros", size)
		}
	}
}

func TestDescribeNamesTheModuleAndItsLockedRegisters(t *testing.T) {
	got, err := newDevice(t, nsmtest.Options{ModuleID: "i-1-enc2"}).Describe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got.ModuleID != "i-1-enc2" || got.Version != "1.0.0" || len(got.Locked) != 16 || got.Locked[15] != 15 {
		t.Errorf("got %+v", got)
	}
}

func TestARegisterIsExtendedUntilItIsLocked(t *testing.T) {
	device := newDevice(t, nsmtest.Options{})
	data := sha512.Sum384([]byte("configuration"))
	want := sha512.Sum384(append(make([]byte, sha512.Size384), data[:]...))
	if got, err := device.ExtendPCR(t.Context(), 16, data); err != nil || got != want {
		t.Fatalf("got %x, %v, want %x", got, err, want)
	}
	if got, err := device.DescribePCR(t.Context(), 16); err != nil || got != (nsm.Register{Value: want}) {
		t.Errorf("got %+v, %v, want an open register of %x", got, err, want)
	}
	if err := device.LockPCR(t.Context(), 16); err != nil {
		t.Fatal(err)
	}
	if got, err := device.DescribePCR(t.Context(), 16); err != nil || got != (nsm.Register{Value: want, Locked: true}) {
		t.Errorf("got %+v, %v, want a locked register of %x", got, err, want)
	}
	if _, err := device.ExtendPCR(t.Context(), 16, data); !errors.Is(err, nsm.ReadOnlyIndex) {
		t.Errorf("got %v, want %v", err, nsm.ReadOnlyIndex)
	}
}

func TestCallersTakeTurns(t *testing.T) {
	var inside, most atomic.Int32
	device := newDevice(t, nsmtest.Options{Before: func(request.Request) error {
		most.Store(max(most.Load(), inside.Add(1)))
		time.Sleep(time.Millisecond)
		inside.Add(-1)
		return nil
	}})
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			if _, err := device.Attest(t.Context(), nsm.Request{}); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if most.Load() != 1 {
		t.Errorf("got %d callers at once, want 1", most.Load())
	}
}

func TestACallerWhoseContextEndsLeavesAndTheNextWaitsForTheModule(t *testing.T) {
	entered, release := make(chan struct{}, 2), make(chan struct{})
	device := newDevice(t, nsmtest.Options{Before: func(request.Request) error {
		entered <- struct{}{}
		<-release
		return nil
	}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { _, err := device.Attest(ctx, nsm.Request{}); done <- err }()
	<-entered
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	// The exchange is still under way, so the next caller has no turn.
	brief, stop := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer stop()
	if _, err := device.Attest(brief, nsm.Request{}); !errors.Is(err, context.DeadlineExceeded) || len(entered) != 0 {
		t.Errorf("got %v and %d exchanges, want %v and none", err, len(entered), context.DeadlineExceeded)
	}
	close(release)
	if _, err := device.Attest(t.Context(), nsm.Request{}); err != nil {
		t.Error(err)
	}
}

func TestAClosedDeviceAnswersNothing(t *testing.T) {
	s := &session{}
	device := nsm.New(s)
	if err := device.Close(); err != nil {
		t.Fatal(err)
	}
	for operation, call := range operations {
		if err := call(t.Context(), device); !errors.Is(err, nsm.ErrClosed) {
			t.Errorf("%s: got %v, want %v", operation, err, nsm.ErrClosed)
		}
	}
	if err := device.Close(); !errors.Is(err, nsm.ErrClosed) {
		t.Errorf("got %v, want %v", err, nsm.ErrClosed)
	}
	if s.sent.Load() != 0 {
		t.Error("a closed device sent a request")
	}
}

func TestOpenFailsWhereThereIsNoModule(t *testing.T) {
	device, err := nsm.Open()
	if err == nil {
		_ = device.Close()
		t.Fatal("got a device; this test is not for an enclave")
	}
	if !strings.Contains(err.Error(), "/dev/nsm") {
		t.Errorf("got %q, want the device named", err)
	}
}

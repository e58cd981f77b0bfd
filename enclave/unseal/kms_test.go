package unseal_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hf/nsm/request"

	"holdfast/enclave/egress"
	"holdfast/enclave/nsm"
	"holdfast/enclave/nsm/nsmtest"
	"holdfast/enclave/unseal"
	"holdfast/enclave/unseal/cms"
	"holdfast/internal/kmstest"
	"holdfast/verify/keypolicy"
	"holdfast/verify/pcrs"
)

const serverName = "kms.eu-central-1.amazonaws.com"

var (
	configuration = nsm.Digest{0xc0, 0xff, 0xee}
	purpose       = map[string]string{"purpose": "holdfast-bundle", "name": "validators", "version": "7"}
	dataKey       = []byte("planted data key of 32 bytes ...")
)

// A scene is an enclave with its module, a parent, and a KMS with one key whose
// policy the verifier's generator wrote for just this enclave.
type scene struct {
	module nsmtest.Options
	kms    kmstest.Options
	faults kmstest.Faults
	policy func(*keypolicy.Parameters, *pcrs.Image)

	clock time.Time // of the enclave, where not that of KMS
}

// A stage is a scene that is set.
type stage struct {
	*kmstest.KMS
	t           *testing.T
	arn         string
	client      *unseal.KMS
	credentials *unseal.Credentials
	device      *nsm.Device
	issued      kmstest.Credentials
	server      *kmstest.Server
	logs        *bytes.Buffer

	mu   sync.Mutex
	sent []*request.Attestation // what the module was asked for
}

func (s scene) play(t *testing.T) *stage {
	t.Helper()
	out := &stage{t: t, logs: &bytes.Buffer{}}
	s.module.Before = func(r request.Request) error {
		if r, ok := r.(*request.Attestation); ok {
			out.mu.Lock()
			defer out.mu.Unlock()
			out.sent = append(out.sent, r)
		}
		return nil
	}
	module, err := nsmtest.New(s.module)
	check(t, err)
	out.device = module.Device()
	_, err = out.device.ExtendPCR(t.Context(), 16, configuration)
	check(t, err)
	check(t, out.device.LockPCR(t.Context(), 16))
	s.kms.Root = module.Root()
	out.KMS, err = kmstest.New(s.kms)
	check(t, err)
	out.arn, err = out.CreateKey(s.keyPolicy(t, out.KMS))
	check(t, err)
	out.SetFaults(s.faults)
	out.server, err = out.Serve("127.0.0.1:0", serverName)
	check(t, err)
	t.Cleanup(func() { _ = out.server.Close() })
	clock := time.Now
	if !s.clock.IsZero() {
		clock = func() time.Time { return s.clock }
	}
	out.credentials = unseal.NewCredentials(clock)
	out.issued = out.Issue(out.Role("parent"), time.Hour)
	out.bring(out.issued)
	out.client = out.clientWith(func(c *unseal.KMSConfig) { c.Clock = clock })
	return out
}

func (s *stage) bring(c kmstest.Credentials) {
	s.t.Helper()
	check(s.t, s.credentials.Set(c.AccessKeyID, c.SecretAccessKey, c.SessionToken, c.Expiration))
}

// clientWith makes a client of the stage's key with something changed.
func (s *stage) clientWith(change func(*unseal.KMSConfig)) *unseal.KMS {
	s.t.Helper()
	roots, err := egress.Roots(s.server.Roots)
	check(s.t, err)
	config := unseal.KMSConfig{
		Key: s.arn, Client: egress.NewClient(s.server.Dial, serverName, roots), Module: s.device,
		Credentials: s.credentials, Clock: time.Now, Log: slog.New(slog.NewTextHandler(s.logs, nil)),
	}
	change(&config)
	client, err := unseal.NewKMS(config)
	check(s.t, err)
	return client
}

// keyPolicy is the generator's for the image that nsmtest's modules measure.
func (s scene) keyPolicy(t *testing.T, k *kmstest.KMS) []byte {
	t.Helper()
	module, err := nsmtest.New(nsmtest.Options{})
	check(t, err)
	image := pcrs.Image{Architecture: pcrs.X8664, EIF: pcrs.Digest{1}, Size: 1}
	for index, value := range []*pcrs.PCR{&image.PCR0, &image.PCR1, &image.PCR2} {
		register, err := module.Device().DescribePCR(t.Context(), index)
		check(t, err)
		*value = pcrs.PCR(register.Value)
	}
	params := keypolicy.Parameters{
		ID: "test", Administrator: k.Role("administrator"), Provisioner: k.Role("provisioner"), Parent: k.Role("parent"),
		Purpose: "holdfast-bundle", Configuration: configuration,
	}
	if s.policy != nil {
		s.policy(&params, &image)
	}
	policy, err := keypolicy.Generate(&pcrs.File{Releases: []pcrs.Release{{Version: "v1.0.0", Status: pcrs.Active, Images: []pcrs.Image{image}}}}, params)
	check(t, err)
	return policy
}

func (s *stage) wrap() []byte {
	s.t.Helper()
	out, err := s.Encrypt(s.arn, dataKey, purpose)
	check(s.t, err)
	return out
}

// decrypt has the enclave open the planted data key.
func (s *stage) decrypt() ([]byte, error) {
	s.t.Helper()
	got, err := s.client.Decrypt(s.t.Context(), s.wrap(), purpose)
	return got.Reveal(), err
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantFailure checks the type of an error, its advice, and what it says.
func wantFailure(t *testing.T, err error, retry unseal.Retry, says ...string) *unseal.KMSError {
	t.Helper()
	var failure *unseal.KMSError
	if !errors.As(err, &failure) {
		t.Fatalf("got %v, want a KMSError", err)
	}
	if failure.Retry != retry {
		t.Errorf("got retry %v for %v, want %v", failure.Retry, err, retry)
	}
	for _, want := range says {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to say %q", err, want)
		}
	}
	return failure
}

func TestTheRightEnclaveDecryptsUnderTheGeneratedPolicy(t *testing.T) {
	for _, form := range []kmstest.Form{kmstest.Constructed, kmstest.Primitive} {
		for _, indefinite := range []bool{false, true} {
			s := scene{kms: kmstest.Options{Form: form}, module: nsmtest.Options{Indefinite: indefinite}}.play(t)
			if got, err := s.decrypt(); err != nil || !bytes.Equal(got, dataKey) {
				t.Errorf("form %v: got %q, %v", form, got, err)
			}
		}
	}
}

func TestEveryCallHasItsOwnKeyAndEveryAttemptItsOwnDocument(t *testing.T) {
	s := scene{faults: kmstest.Faults{Throttle: 2}}.play(t)
	_, err := s.decrypt()
	check(t, err)
	_, err = s.decrypt()
	check(t, err)
	if len(s.sent) != 4 {
		t.Fatalf("got %d documents for three attempts and one, want 4", len(s.sent))
	}
	if !bytes.Equal(s.sent[0].PublicKey, s.sent[2].PublicKey) || bytes.Equal(s.sent[2].PublicKey, s.sent[3].PublicKey) {
		t.Error("want one key for each call")
	}
	if n := strings.Count(s.logs.String(), "asking KMS again"); n != 2 || !strings.Contains(s.logs.String(), "ThrottlingException") {
		t.Errorf("got %q", s.logs)
	}
}

func TestADataKeyIsMadeAndOpensAgain(t *testing.T) {
	s := scene{}.play(t)
	check(t, s.PutPolicy(s.arn, []byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"*"},
		"Action":["kms:GenerateDataKey","kms:Decrypt"],"Resource":"*","Condition":{"Null":{"kms:RecipientAttestation:PCR0":"false"}}}]}`)))
	made, wrapped, err := s.client.GenerateDataKey(t.Context(), purpose)
	check(t, err)
	got, err := s.client.Decrypt(t.Context(), wrapped, purpose)
	if err != nil || made.Len() != unseal.DataKeySize || !bytes.Equal(got.Reveal(), made.Reveal()) {
		t.Errorf("got %d bytes, %v", got.Len(), err)
	}
	other, _, err := s.client.GenerateDataKey(t.Context(), purpose)
	if err != nil || bytes.Equal(other.Reveal(), made.Reveal()) {
		t.Errorf("the same key twice, or %v", err)
	}
}

func TestDataOfEverySizeIsDecrypted(t *testing.T) {
	s := scene{kms: kmstest.Options{Form: kmstest.Alternating}}.play(t)
	for _, size := range []int{1, 15, 16, 111, 112, 240, 1000, unseal.MaxPlaintextSize, unseal.MaxPlaintextSize} {
		plaintext := bytes.Repeat([]byte{0x5a}, size)
		ciphertext, err := s.Encrypt(s.arn, plaintext, purpose)
		check(t, err)
		if got, err := s.client.DecryptData(t.Context(), ciphertext, purpose); err != nil || !bytes.Equal(got.Reveal(), plaintext) {
			t.Errorf("%d bytes: got %d, %v", size, got.Len(), err)
		}
		_, err = s.client.Decrypt(t.Context(), ciphertext, purpose)
		wantFailure(t, err, unseal.Never, "of another size")
	}
}

// TestTheGeneratedPolicyDeniesEveryOtherEnclave changes one register at a time.
func TestTheGeneratedPolicyDeniesEveryOtherEnclave(t *testing.T) {
	tests := map[string]scene{}
	for index := range 3 {
		tests[fmt.Sprintf("PCR%d", index)] = scene{module: nsmtest.Options{PCRs: map[int]nsm.Digest{index: {9}}}}
	}
	tests["PCR16"] = scene{policy: func(p *keypolicy.Parameters, _ *pcrs.Image) { p.Configuration[0] ^= 1 }}
	tests["purpose"] = scene{policy: func(p *keypolicy.Parameters, _ *pcrs.Image) { p.Purpose = "holdfast-other" }}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := test.play(t)
			_, err := s.decrypt()
			says := []string{s.arn, "AccessDeniedException (request ", "kms:Decrypt", "`verify policy`", "resource-based policy"}
			for _, index := range []int{0, 1, 2, 16} {
				register, err := s.device.DescribePCR(t.Context(), index)
				check(t, err)
				says = append(says, fmt.Sprintf("PCR%d %x", index, register.Value))
			}
			failure := wantFailure(t, err, unseal.Slowly, says...)
			if failure.Code != "AccessDeniedException" || len(failure.RequestID) != 36 {
				t.Errorf("got code %q, request %q", failure.Code, failure.RequestID)
			}
			if calls := s.Calls(); len(calls) != 1 {
				t.Errorf("asked %d times, want once: asking again at once does not help", len(calls))
			}
		})
	}
}

func TestARegisterThatIsNotLockedOrReadableIsSaidToBe(t *testing.T) {
	s := scene{policy: func(p *keypolicy.Parameters, _ *pcrs.Image) { p.Purpose = "holdfast-other" }}.play(t)
	client := s.clientWith(func(c *unseal.KMSConfig) { c.Module = unlocked{s.device} })
	_, err := client.Decrypt(t.Context(), s.wrap(), purpose)
	wantFailure(t, err, unseal.Slowly, "PCR16 not locked, so not attested", "PCR2 unreadable")
}

func TestADocumentOfAnotherRootIsNotAccepted(t *testing.T) {
	s := scene{}.play(t)
	module, err := nsmtest.New(nsmtest.Options{})
	check(t, err)
	client := s.clientWith(func(c *unseal.KMSConfig) { c.Module = module.Device() })
	_, err = client.Decrypt(t.Context(), s.wrap(), purpose)
	wantFailure(t, err, unseal.Never, "ValidationException", "attestation document")
}

// unlocked shows PCR16 as open, and PCR2 not at all.
type unlocked struct{ *nsm.Device }

func (u unlocked) DescribePCR(ctx context.Context, index int) (nsm.Register, error) {
	if index == 2 {
		return nsm.Register{}, errors.New("broken")
	}
	register, err := u.Device.DescribePCR(ctx, index)
	register.Locked = register.Locked && index != 16
	return register, err
}

func TestAnotherContextIsAnError(t *testing.T) {
	s := scene{}.play(t)
	for name, context := range map[string]map[string]string{
		"another version": {"purpose": "holdfast-bundle", "name": "validators", "version": "8"},
		"one pair less":   {"purpose": "holdfast-bundle", "name": "validators"},
	} {
		_, err := s.client.Decrypt(t.Context(), s.wrap(), context)
		wantFailure(t, err, unseal.Never, "InvalidCiphertextException", "another encryption context")
		if strings.Contains(err.Error(), "AccessDenied") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestASwappedOrChangedCiphertextIsAnError(t *testing.T) {
	s := scene{}.play(t)
	other, err := s.CreateKey(scene{}.keyPolicy(t, s.KMS))
	check(t, err)
	swapped, err := s.Encrypt(other, dataKey, purpose)
	check(t, err)
	_, err = s.client.Decrypt(t.Context(), swapped, purpose)
	wantFailure(t, err, unseal.Never, "IncorrectKeyException", "encrypted with another key")

	changed := s.wrap()
	changed[len(changed)-1] ^= 1
	_, err = s.client.Decrypt(t.Context(), changed, purpose)
	wantFailure(t, err, unseal.Never, "InvalidCiphertextException", "changed")

	for _, size := range []int{0, unseal.MaxCiphertextSize + 1} {
		if _, err := s.client.Decrypt(t.Context(), make([]byte, size), purpose); err == nil || !strings.Contains(err.Error(), "want 1 to 6144") {
			t.Errorf("%d bytes: got %v", size, err)
		}
	}
}

func TestAnAnswerThatKMSDoesNotGiveIsRefused(t *testing.T) {
	for name, test := range map[string]struct {
		faults kmstest.Faults
		want   string
	}{
		"another key":         {kmstest.Faults{KeyID: "arn:aws:kms:eu-central-1:123456789012:key/other"}, `an answer of key "arn:aws:kms:eu-central-1:123456789012:key/other"`},
		"the plaintext too":   {kmstest.Faults{Plaintext: true}, "got the plaintext itself"},
		"only the plaintext":  {kmstest.Faults{IgnoreRecipient: true}, "got the plaintext itself"},
		"nothing":             {kmstest.Faults{Rewrite: func([]byte) []byte { return nil }}, "got nothing encrypted to the recipient"},
		"no CMS":              {kmstest.Faults{Rewrite: func(b []byte) []byte { return b[1:] }}, "cms: byte"},
		"a broken key":        {kmstest.Faults{Rewrite: func(b []byte) []byte { b[200] ^= 1; return b }}, cms.ErrOpen.Error()},
		"another recipient":   {kmstest.Faults{Rewrite: func(b []byte) []byte { b[40] ^= 1; return b }}, "cms: got recipient"},
		"too long a document": {kmstest.Faults{Rewrite: func(b []byte) []byte { return append(b, make([]byte, 8192)...) }}, "cms: got 8"},
	} {
		s := scene{faults: test.faults}.play(t)
		got, err := s.decrypt()
		wantFailure(t, err, unseal.Never, "KMS answers what it should not", test.want)
		if len(got) != 0 || len(s.Calls()) != 1 {
			t.Errorf("%s: got %d bytes after %d calls", name, len(got), len(s.Calls()))
		}
	}
}

func TestABusyKMSIsAskedAgainAndABusierOneGivenUp(t *testing.T) {
	for name, test := range map[string]struct {
		faults kmstest.Faults
		opens  bool
	}{
		"throttled twice":   {kmstest.Faults{Throttle: 2}, true},
		"broken twice":      {kmstest.Faults{Internal: 2}, true},
		"throttled for now": {kmstest.Faults{Throttle: 3}, false},
		"broken for now":    {kmstest.Faults{Internal: 3}, false},
	} {
		s := scene{faults: test.faults}.play(t)
		_, err := s.decrypt()
		if test.opens {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		wantFailure(t, err, unseal.Soon, "Exception (request ")
		if _, err := s.decrypt(); err != nil {
			t.Errorf("%s: afterwards: %v", name, err)
		}
	}
}

func TestAKMSThatIsDownIsSaidToBeAndTriedAgain(t *testing.T) {
	s := scene{faults: kmstest.Faults{Down: true}}.play(t)
	_, err := s.decrypt()
	wantFailure(t, err, unseal.Soon, "no answer")
	s.SetFaults(kmstest.Faults{})
	if _, err := s.decrypt(); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	check(t, s.server.Close())
	_, err = s.decrypt()
	wantFailure(t, err, unseal.Soon, "no answer")
}

func TestASlowKMSIsNotWaitedForLongerThanTheCallerDoes(t *testing.T) {
	s := scene{faults: kmstest.Faults{Delay: time.Hour}}.play(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	started := time.Now()
	_, err := s.client.Decrypt(ctx, s.wrap(), purpose)
	wantFailure(t, err, unseal.Soon, "no answer")
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(started) > 30*time.Second {
		t.Errorf("got %v after %v", err, time.Since(started))
	}
}

func TestAParentThatStandsInForKMSGetsNothing(t *testing.T) {
	s := scene{}.play(t)
	impostor, err := s.Serve("127.0.0.1:0", serverName) // the right name below its own root
	check(t, err)
	t.Cleanup(func() { _ = impostor.Close() })
	roots, err := egress.Roots(s.server.Roots)
	check(t, err)
	client := s.clientWith(func(c *unseal.KMSConfig) { c.Client = egress.NewClient(impostor.Dial, serverName, roots) })
	_, err = client.Decrypt(t.Context(), s.wrap(), purpose)
	wantFailure(t, err, unseal.Soon, "egress: TLS with "+serverName, "certificate")
	if len(s.Calls()) != 0 {
		t.Error("a request came through")
	}
}

func TestCredentialsThatExpireInTheMiddleAreRenewed(t *testing.T) {
	s := scene{}.play(t)
	if _, err := s.decrypt(); err != nil {
		t.Fatal(err)
	}
	// What the parent says of them is not what AWS knows.
	short := s.Issue(s.Role("parent"), -time.Second)
	short.Expiration = time.Now().Add(time.Hour)
	s.bring(short)
	_, err := s.decrypt()
	wantFailure(t, err, unseal.Soon, "ExpiredTokenException", "the parent has not refreshed them")
	s.bring(s.Issue(s.Role("parent"), time.Hour))
	if _, err := s.decrypt(); err != nil {
		t.Errorf("with new ones: %v", err)
	}
}

func TestWithoutValidCredentialsNothingIsSent(t *testing.T) {
	now := time.Now()
	s := scene{}.play(t)
	for name, test := range map[string]struct {
		holder func() *unseal.Credentials
		want   string
	}{
		"none": {func() *unseal.Credentials { return unseal.NewCredentials(time.Now) }, "the parent has not brought any"},
		"expired": {func() *unseal.Credentials {
			c := unseal.NewCredentials(func() time.Time { return now })
			check(t, c.Set(s.issued.AccessKeyID, s.issued.SecretAccessKey, s.issued.SessionToken, now.Add(time.Hour)))
			now = now.Add(time.Hour)
			return c
		}, "the parent has not refreshed them"},
	} {
		s.credentials = test.holder()
		_, err := s.clientWith(func(*unseal.KMSConfig) {}).Decrypt(t.Context(), s.wrap(), purpose)
		wantFailure(t, err, unseal.Soon, test.want)
		if !errors.Is(err, unseal.ErrCredentials) || len(s.Calls()) != 0 || len(s.sent) != 0 {
			t.Errorf("%s: got %v, %d calls, %d documents", name, err, len(s.Calls()), len(s.sent))
		}
	}
}

func TestCredentialsThatAWSDoesNotKnowAreSaidToBe(t *testing.T) {
	s := scene{}.play(t)
	wrong := s.issued
	wrong.SecretAccessKey = strings.Repeat("0", 40)
	s.bring(wrong)
	_, err := s.decrypt()
	wantFailure(t, err, unseal.Slowly, "InvalidSignatureException", "do not belong together")
	wrong.AccessKeyID = "ASIA0000000000000000"
	s.bring(wrong)
	_, err = s.decrypt()
	wantFailure(t, err, unseal.Slowly, "UnrecognizedClientException")
}

// TestRequestsAreSignedByTheTrustedClock has the system's clock off by years: KMS
// lives then, and so does the module.
func TestRequestsAreSignedByTheTrustedClock(t *testing.T) {
	then := time.Date(2031, 5, 6, 7, 8, 9, 0, time.UTC)
	now := func() time.Time { return then }
	s := scene{kms: kmstest.Options{Now: now}, module: nsmtest.Options{Now: now}, clock: then}
	if _, err := s.play(t).decrypt(); err != nil {
		t.Error(err)
	}
	s.clock = then.Add(6 * time.Minute)
	_, err := s.play(t).decrypt()
	wantFailure(t, err, unseal.Slowly, "InvalidSignatureException", "the clock is five minutes off")
}

func TestAnOldDocumentIsNotAccepted(t *testing.T) {
	s := scene{module: nsmtest.Options{Now: func() time.Time { return time.Now().Add(-6 * time.Minute) }}}.play(t)
	_, err := s.decrypt()
	wantFailure(t, err, unseal.Never, "ValidationException", "at most five minutes old")
}

func TestAKeyThatIsDisabledOrGoneIsSaidToBe(t *testing.T) {
	s := scene{}.play(t)
	check(t, s.Disable(s.arn, true))
	_, err := s.decrypt()
	wantFailure(t, err, unseal.Slowly, "DisabledException", "the key is disabled")
	check(t, s.Disable(s.arn, false))
	if _, err := s.decrypt(); err != nil {
		t.Error(err)
	}
	gone := "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"
	_, _, err = s.clientWith(func(c *unseal.KMSConfig) { c.Key = gone }).GenerateDataKey(t.Context(), purpose)
	wantFailure(t, err, unseal.Slowly, "NotFoundException", gone)
}

func TestAModuleThatMakesNoDocumentIsSaidTo(t *testing.T) {
	s := scene{}.play(t)
	check(t, s.device.Close())
	_, err := s.decrypt()
	wantFailure(t, err, unseal.Soon, "no attestation document", "closed")
	if !errors.Is(err, nsm.ErrClosed) || len(s.Calls()) != 0 {
		t.Errorf("got %v, %d calls", err, len(s.Calls()))
	}
}

func TestTooLargeAContextIsRefused(t *testing.T) {
	s := scene{}.play(t)
	_, _, err := s.client.GenerateDataKey(t.Context(), map[string]string{"name": strings.Repeat("a", 8192)})
	if err == nil || !strings.Contains(err.Error(), "want at most 8192") {
		t.Errorf("got %v", err)
	}
}

func TestOneClientServesManyAtOnce(t *testing.T) {
	s := scene{kms: kmstest.Options{Form: kmstest.Alternating}}.play(t)
	wrapped := s.wrap()
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if got, err := s.client.Decrypt(t.Context(), wrapped, purpose); err != nil || !bytes.Equal(got.Reveal(), dataKey) {
				t.Errorf("got %v", err)
			}
		})
	}
	group.Wait()
}

func TestNothingPlantedShowsInAnyErrorOrLog(t *testing.T) {
	var shown strings.Builder
	var planted []string
	for _, faults := range []kmstest.Faults{
		{}, {Throttle: 3}, {Internal: 3}, {Down: true}, {Plaintext: true}, {IgnoreRecipient: true}, {KeyID: "x"},
		{Rewrite: func(b []byte) []byte { return b[:len(b)-1] }}, {Rewrite: func(b []byte) []byte { b[100] ^= 1; return b }},
	} {
		s := scene{faults: faults}.play(t)
		for _, issued := range []kmstest.Credentials{s.issued, {
			AccessKeyID: s.issued.AccessKeyID, SecretAccessKey: strings.Repeat("planted", 6),
			SessionToken: s.issued.SessionToken, Expiration: s.issued.Expiration,
		}} {
			s.bring(issued)
			_, err := s.decrypt()
			_, short := s.client.DecryptData(t.Context(), []byte("not a ciphertext"), purpose)
			fmt.Fprintf(&shown, "%v %+v %#v %v\n%s%v %+v %#v\n", err, err, err, short, s.logs, s.credentials, struct{ c *unseal.Credentials }{s.credentials}, s.client)
			planted = append(planted, issued.SecretAccessKey, issued.SessionToken)
		}
	}
	planted = append(planted, string(dataKey), hex.EncodeToString(dataKey), base64.StdEncoding.EncodeToString(dataKey))
	if shown.Len() < 1000 {
		t.Fatalf("only %d bytes were shown", shown.Len())
	}
	for _, secret := range planted {
		if strings.Contains(shown.String(), secret) {
			t.Errorf("%.12q… shows", secret)
		}
	}
}

func TestTheConfigurationIsCheckedAtOnce(t *testing.T) {
	s := scene{}.play(t)
	complete := unseal.KMSConfig{Key: s.arn, Client: egress.NewClient(nil, serverName, nil), Module: s.device,
		Credentials: s.credentials, Clock: time.Now, Log: slog.New(slog.DiscardHandler)}
	for name, test := range map[string]struct {
		change func(*unseal.KMSConfig)
		want   string
	}{
		"nothing wrong":        {func(*unseal.KMSConfig) {}, ""},
		"no key":               {func(c *unseal.KMSConfig) { c.Key = "" }, "want a full ARN"},
		"an alias":             {func(c *unseal.KMSConfig) { c.Key = "arn:aws:kms:eu-central-1:123456789012:alias/holdfast" }, "and no alias"},
		"a key id":             {func(c *unseal.KMSConfig) { c.Key = "11111111-2222-3333-4444-555555555555" }, "want a full ARN"},
		"another service":      {func(c *unseal.KMSConfig) { c.Key = strings.Replace(c.Key, ":kms:", ":s3:", 1) }, "want a full ARN"},
		"a line more":          {func(c *unseal.KMSConfig) { c.Key += "\n" }, "want a full ARN"},
		"plain HTTP":           {func(c *unseal.KMSConfig) { c.Endpoint = "http://kms.test" }, "want https://host[:port]"},
		"a path":               {func(c *unseal.KMSConfig) { c.Endpoint = "https://kms.test/" }, "want https://host[:port]"},
		"a user":               {func(c *unseal.KMSConfig) { c.Endpoint = "https://user@kms.test" }, "want https://host[:port]"},
		"no host":              {func(c *unseal.KMSConfig) { c.Endpoint = "https://" }, "want https://host[:port]"},
		"no client":            {func(c *unseal.KMSConfig) { c.Client = nil }, "incomplete"},
		"no module":            {func(c *unseal.KMSConfig) { c.Module = nil }, "incomplete"},
		"no credentials":       {func(c *unseal.KMSConfig) { c.Credentials = nil }, "incomplete"},
		"no clock":             {func(c *unseal.KMSConfig) { c.Clock = nil }, "incomplete"},
		"no log":               {func(c *unseal.KMSConfig) { c.Log = nil }, "incomplete"},
		"an unknown partition": {func(c *unseal.KMSConfig) { c.Key = strings.Replace(c.Key, "arn:aws:", "arn:aws-iso:", 1) }, "the configuration must name it"},
	} {
		config := complete
		test.change(&config)
		k, err := unseal.NewKMS(config)
		if test.want == "" {
			check(t, err)
			continue
		}
		if err == nil || k != nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want it to say %q", name, err, test.want)
		}
	}
}

func TestTheEndpointFollowsFromTheKey(t *testing.T) {
	const rest = ":123456789012:key/mrk-0123456789abcdef0123456789abcdef"
	for _, test := range []struct{ key, endpoint, want string }{
		{"arn:aws:kms:eu-central-1" + rest, "", "https://kms.eu-central-1.amazonaws.com"},
		{"arn:aws-cn:kms:cn-north-1" + rest, "", "https://kms.cn-north-1.amazonaws.com.cn"},
		{"arn:aws-us-gov:kms:us-gov-west-1" + rest, "", "https://kms.us-gov-west-1.amazonaws.com"},
		{"arn:aws-iso:kms:us-iso-east-1" + rest, "https://kms.us-iso-east-1.c2s.ic.gov", "https://kms.us-iso-east-1.c2s.ic.gov"},
		{"arn:aws:kms:eu-central-1" + rest, "https://kms.test:4599", "https://kms.test:4599"},
	} {
		if got, err := unseal.Endpoint(test.key, test.endpoint); err != nil || got.String() != test.want {
			t.Errorf("%s: got %v, %v, want %s", test.key, got, err, test.want)
		}
	}
}

func TestAnotherEndpointIsReachedWithItsOwnRoots(t *testing.T) {
	s := scene{}.play(t)
	server, err := s.Serve("127.0.0.1:0", "127.0.0.1")
	check(t, err)
	t.Cleanup(func() { _ = server.Close() })
	endpoint, err := unseal.Endpoint(s.arn, "https://"+server.Address)
	check(t, err)
	roots, err := egress.Roots(server.Roots)
	check(t, err)
	dialed := 0
	dial := func(ctx context.Context) (net.Conn, error) { dialed++; return server.Dial(ctx) }
	client := s.clientWith(func(c *unseal.KMSConfig) {
		c.Endpoint, c.Client = endpoint.String(), egress.NewClient(dial, endpoint.Hostname(), roots)
	})
	if got, err := client.Decrypt(t.Context(), s.wrap(), purpose); err != nil || !bytes.Equal(got.Reveal(), dataKey) || dialed != 1 {
		t.Errorf("got %v after %d connections", err, dialed)
	}
}

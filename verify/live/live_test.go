package live_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"holdfast/enclave/nsm"
	"holdfast/enclave/nsm/nsmtest"
	"holdfast/verify/attestation"
	"holdfast/verify/attestation/chain"
	"holdfast/verify/attestation/judgement"
	"holdfast/verify/channel"
	"holdfast/verify/enclavetest"
	"holdfast/verify/evidence"
	"holdfast/verify/live"
	"holdfast/verify/pcrs"
	"holdfast/verify/report"
)

var measured = [3]pcrs.PCR{{1}, {2}, {3}}

// enclave starts a genuine enclave and says how to verify it.
func enclave(t *testing.T, options enclavetest.Options) (*channel.Channel, attestation.Options) {
	t.Helper()
	module, err := nsmtest.New(nsmtest.Options{PCRs: map[int]nsm.Digest{0: measured[0], 1: measured[1], 2: measured[2]}})
	if err != nil {
		t.Fatal(err)
	}
	device := module.Device()
	e, err := enclavetest.Start(func(userData, nonce []byte) ([]byte, error) {
		return device.Attest(t.Context(), nsm.Request{UserData: userData, Nonce: nonce})
	}, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	c, err := channel.Open(e.URL)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(module.Root().Raw)
	trust, err := chain.NewTrust(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: module.Root().Raw}), hex.EncodeToString(sum[:]))
	if err != nil {
		t.Fatal(err)
	}
	f, err := (&pcrs.File{}).WithImage("v1.0.0", pcrs.Image{Architecture: pcrs.X8664, EIF: pcrs.Digest{1}, Size: 1, PCR0: measured[0], PCR1: measured[1], PCR2: measured[2]})
	if err != nil {
		t.Fatal(err)
	}
	return c, attestation.Options{Trust: trust, Policy: judgement.Policy{
		Measurements: f, MaxAge: judgement.DefaultMaxAge, Skew: judgement.DefaultSkew,
	}}
}

func fetch(t *testing.T, c *channel.Channel) evidence.Evidence {
	t.Helper()
	e, err := live.Fetch(t.Context(), c, live.NewNonce())
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestAGenuineEnclavePasses(t *testing.T) {
	c, options := enclave(t, enclavetest.Options{})
	result := fetch(t, c).Verify(options)
	if result.Verdict != attestation.Good {
		t.Errorf("got %v: %+v", result.Verdict, result.Blocking())
	}
}

func TestTheVerdictOnEvidenceDoesNotChangeWithTime(t *testing.T) {
	c, options := enclave(t, enclavetest.Options{})
	e := fetch(t, c)
	options.Policy.Now = time.Now().Add(1000 * time.Hour) // the evidence has its own time
	if result := e.Verify(options); result.Verdict != attestation.Good {
		t.Errorf("got %v: %+v", result.Verdict, result.Blocking())
	}
	e.Time = e.Time.Add(time.Hour)
	if result := e.Verify(options); result.Report.Check(report.D2).Verdict != report.Fail {
		t.Error("an hour later the document is still fresh")
	}
}

func TestChangedEvidenceFails(t *testing.T) {
	c, options := enclave(t, enclavetest.Options{})
	good := fetch(t, c)
	for name, test := range map[string]struct {
		change func(*evidence.Evidence)
		rule   report.Rule
	}{
		"nonce":       {func(e *evidence.Evidence) { e.Nonce = live.NewNonce() }, report.D1},
		"no nonce":    {func(e *evidence.Evidence) { e.Nonce = e.Nonce[:1] }, report.D1},
		"binding":     {func(e *evidence.Evidence) { e.Binding[len(e.Binding)-1] ^= 1 }, report.E9},
		"certificate": {func(e *evidence.Evidence) { e.Certificate = e.Certificate[1:] }, report.E9},
		"document":    {func(e *evidence.Evidence) { e.Document[len(e.Document)-1] ^= 1 }, report.A7},
	} {
		e := good
		e.Nonce, e.Binding, e.Document = bytes.Clone(e.Nonce), bytes.Clone(e.Binding), bytes.Clone(e.Document)
		test.change(&e)
		result := e.Verify(options)
		if result.Verdict != attestation.Refused || result.Report.Check(test.rule).Verdict != report.Fail {
			t.Errorf("%s: got %v, %+v", name, result.Verdict, result.Report.Check(test.rule))
		}
	}
}

func TestEvidenceNeverPassesAtDocumentTime(t *testing.T) {
	c, options := enclave(t, enclavetest.Options{})
	e := fetch(t, c)
	e.Time = e.Time.Add(time.Hour)
	options.Policy.AtDocumentTime = true
	if result := e.Verify(options); result.Report.Check(report.D2).Verdict != report.Fail {
		t.Error("freshness was left out for a live document")
	}
}

func TestFetchRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		status     int
		body, want string
	}{
		"an error":                 {http.StatusServiceUnavailable, `{"error":"starting"}`, `status 503: "starting"`},
		"an error without JSON":    {http.StatusBadGateway, "<html>\x1b[2J", `"<html>\x1b[2J"`},
		"an endless error":         {http.StatusBadGateway, strings.Repeat("x", 10000), "status 502"},
		"no JSON":                  {http.StatusOK, "hello", "malformed JSON"},
		"an unknown member":        {http.StatusOK, `{"document":"","binding":"","x":1}`, "malformed JSON"},
		"a second value":           {http.StatusOK, `{"document":"","binding":""}{}`, "more after the value"},
		"no binding":               {http.StatusOK, `{"document":""}`, "want the members"},
		"null":                     {http.StatusOK, `null`, "want the members"},
		"base64url":                {http.StatusOK, `{"document":"-_","binding":""}`, "document: "},
		"base64 in lines":          {http.StatusOK, `{"document":"AAAA","binding":"AA\nAA"}`, "binding: "},
		"an answer without an end": {http.StatusOK, strings.Repeat(" ", 100000), "exceeds"},
	} {
		c, _ := enclave(t, enclavetest.Options{Handle: func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(test.status)
			_, _ = w.Write([]byte(test.body))
			return true
		}})
		_, err := live.Fetch(t.Context(), c, live.NewNonce())
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
		if malformed := test.status == http.StatusOK && test.want != "exceeds"; errors.Is(err, live.ErrMalformed) != malformed {
			t.Errorf("%s: got %v, want a malformed answer: %v", name, err, malformed)
		}
		if err != nil && len(err.Error()) > 500 {
			t.Errorf("%s: an error of %d bytes", name, len(err.Error()))
		}
	}
}

func TestNoncesAreAsLongAsTheContractSaysAndNeverTheSame(t *testing.T) {
	if bytes.Equal(live.NewNonce(), live.NewNonce()) || len(live.NewNonce()) != 32 {
		t.Error("not fresh")
	}
	c, _ := enclave(t, enclavetest.Options{})
	if _, err := live.Fetch(t.Context(), c, make([]byte, 16)); err == nil {
		t.Error("asked with a short nonce")
	}
}

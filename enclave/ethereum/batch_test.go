package ethereum_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"holdfast/enclave/ethereum"
	"holdfast/enclave/ethereum/bls"
	"holdfast/enclave/ethereum/policy"
	"holdfast/enclave/ethereum/signing"
	"holdfast/enclave/slashing"
)

// result is one of a batch's.
type result struct {
	Identifier string
	Signature  string
	Error      *struct {
		Code    int
		Message string
	}
}

func batching(t testing.TB, keys ...*bls.SecretKey) *ethereum.Service {
	return configured(t, func(c *ethereum.Config) { c.Batch = true }, keys...)
}

func batch(request string, identifiers ...string) string {
	names, _ := json.Marshal(identifiers)
	return fmt.Sprintf(`{"identifiers":%s,"signing_request":%s}`, names, request)
}

func postBatch(service *ethereum.Service, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	service.Handler().ServeHTTP(w, httptest.NewRequest("POST", "/api/v1/eth2/sign", strings.NewReader(body)))
	return w
}

func wantResults(t *testing.T, w *httptest.ResponseRecorder) []result {
	t.Helper()
	var results []result
	if err := json.Unmarshal(w.Body.Bytes(), &results); err != nil || w.Code != 200 {
		t.Fatalf("got %d %s", w.Code, w.Body)
	}
	return results
}

func TestABatchSignsWithEveryKeyInOrder(t *testing.T) {
	var keys []*bls.SecretKey
	var names []string
	for n := range byte(40) {
		keys = append(keys, testKey(t, n+1))
		names = append(names, public(t, 40-n).String())
	}
	for _, request := range []string{attestation(1, 2, "a"), `{"type":"RANDAO_REVEAL",` + forkInfo + `,"randao_reveal":{"epoch":"3"}}`} {
		service := batching(t, keys...)
		for i, r := range wantResults(t, postBatch(service, batch(request, names...))) {
			alone := post(service, names[i], request)
			if r.Identifier != names[i] || r.Error != nil || r.Signature != alone.Body.String() {
				t.Errorf("result %d: got %+v, want what the key alone gives: %s", i, r, alone.Body)
			}
		}
	}
}

func TestAKeysFailureIsItsOwn(t *testing.T) {
	service := batching(t, testKey(t, 1), testKey(t, 2), testKey(t, 3))
	if w := post(service, public(t, 2).String(), attestation(1, 2, "b")); w.Code != 200 {
		t.Fatalf("got %d %s", w.Code, w.Body)
	}
	results := wantResults(t, postBatch(service, batch(attestation(1, 2, "a"),
		public(t, 1).String(), public(t, 2).String(), public(t, 9).String(), "0x12", public(t, 3).String())))
	for i, code := range []int{0, 412, 404, 404, 0} {
		r := results[i]
		if code == 0 && (r.Error != nil || r.Signature == "") || code != 0 && (r.Error == nil || r.Error.Code != code || r.Error.Message == "" || r.Signature != "") {
			t.Errorf("result %d: got %+v, want code %d", i, r, code)
		}
	}
	if again := postBatch(service, batch(attestation(1, 2, "c"), public(t, 1).String(), public(t, 3).String())); strings.Contains(again.Body.String(), "signature") {
		t.Errorf("a double vote was signed: %s", again.Body)
	}
}

func TestABatchThatMakesNoSenseIs400(t *testing.T) {
	service := batching(t, testKey(t, 1))
	name := public(t, 1).String()
	many := make([]string, 10_001)
	for i := range many {
		many[i] = fmt.Sprintf("0x%096x", i)
	}
	for what, body := range map[string]string{
		"not JSON":          "{",
		"no identifiers":    `{"signing_request":` + attestation(0, 1, "a") + `}`,
		"none":              batch(attestation(0, 1, "a")),
		"no request":        `{"identifiers":["` + name + `"]}`,
		"bad request":       batch(`{"type":"ATTESTATION"}`, name),
		"a number":          `{"identifiers":[7],"signing_request":` + attestation(0, 1, "a") + `}`,
		"the key twice":     batch(attestation(0, 1, "a"), name, name),
		"in two spellings":  batch(attestation(0, 1, "a"), name, strings.ToUpper(name[2:])),
		"a block":           batch(block(1, "a"), name),
		"an exit":           batch(exit(1), name),
		"too many keys":     batch(attestation(0, 1, "a"), many...),
		"generic, not on":   batch(generic("0x07000000"), name),
		"bad nested field":  batch(strings.Replace(attestation(0, 1, "a"), `"index":"0"`, `"index":"x"`, 1), name),
		"root not the same": batch(`{"signing_root":"0x`+strings.Repeat("00", 32)+`",`+attestation(0, 1, "a")[1:], name),
	} {
		if text := wantError(t, postBatch(service, body), 400); text == "" {
			t.Error(what)
		}
	}
}

func TestBatchesAreOffUnlessTurnedOn(t *testing.T) {
	for _, service := range []*ethereum.Service{ethereum.New(nil), loaded(t, testKey(t, 1))} {
		wantError(t, postBatch(service, batch(attestation(0, 1, "a"), public(t, 1).String())), 404)
	}
}

func TestABatchesClientIsJudgedForEveryKey(t *testing.T) {
	service := configured(t, func(c *ethereum.Config) {
		c.Batch = true
		c.Client = func(*http.Request) policy.Client {
			return policy.Client{Name: "one", Keys: []bls.PublicKey{public(t, 1)}, Types: []signing.Type{signing.Attestation}}
		}
	}, testKey(t, 1), testKey(t, 2))
	results := wantResults(t, postBatch(service, batch(attestation(0, 1, "a"), public(t, 1).String(), public(t, 2).String())))
	if results[0].Error != nil || results[1].Error == nil || results[1].Error.Code != 403 {
		t.Errorf("got %+v, %+v", results[0], results[1])
	}
}

func TestABatchOnAFailingStoreSignsNothing(t *testing.T) {
	service := configured(t, func(c *ethereum.Config) {
		c.Batch = true
		c.Slashing = storeFunc(func() slashing.Decision { return slashing.Fail(errors.New("disk is full")) })
	}, testKey(t, 1), testKey(t, 2))
	for _, r := range wantResults(t, postBatch(service, batch(attestation(0, 1, "a"), public(t, 1).String(), public(t, 2).String()))) {
		if r.Error == nil || r.Error.Code != 500 || r.Signature != "" {
			t.Errorf("got %+v", r)
		}
	}
}

func generic(domain string) string {
	return `{"type":"GENERIC","object_root":"0x` + strings.Repeat("ab", 32) + `","domain":"` + domain + strings.Repeat("cd", 28) + `"}`
}

func TestGenericRequestsAreSignedWhereTheBundleAndTheClientAllow(t *testing.T) {
	for _, c := range []struct {
		name, domain string
		on           bool
		types        []signing.Type
		status       int
	}{
		{"allowed", "0x07000000", true, []signing.Type{signing.Generic}, 200},
		{"not turned on", "0x07000000", false, []signing.Type{signing.Generic}, 400},
		{"not the client's", "0x07000000", true, []signing.Type{signing.RandaoReveal}, 403},
		{"a block", "0x00000000", true, signing.Types(), 400},
		{"an attestation", "0x01000000", true, signing.Types(), 400},
		{"an exit, not allowed", "0x04000000", true, []signing.Type{signing.Generic}, 403},
		{"an exit, allowed", "0x04000000", true, []signing.Type{signing.Generic, signing.VoluntaryExit}, 200},
		{"a deposit, not allowed", "0x03000000", true, []signing.Type{signing.Generic}, 403},
		{"a registration with any recipient", "0x00000001", true, []signing.Type{signing.Generic, signing.ValidatorRegistration}, 403},
	} {
		service := configured(t, func(config *ethereum.Config) {
			config.Generic = c.on
			config.Client = func(*http.Request) policy.Client {
				return policy.Client{Name: "x", AnyKey: true, Types: c.types}
			}
		}, testKey(t, 1))
		if w := post(service, public(t, 1).String(), generic(c.domain)); w.Code != c.status {
			t.Errorf("%s: got %d %s, want %d", c.name, w.Code, w.Body, c.status)
		}
	}
}

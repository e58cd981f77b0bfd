package ethereum_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"holdfast/enclave/ethereum"
	"holdfast/enclave/ethereum/bls"
	"holdfast/enclave/ethereum/network"
	"holdfast/enclave/ethereum/policy"
	"holdfast/enclave/ethereum/signing"
	"holdfast/enclave/slashing"
	"holdfast/enclave/slashing/slashingtest"
)

const validatorsRoot = "0x04700007fabc8282644aed6d1c7c9e21d38a03a0c4ba193f3afe428824b3a673"

// testNetwork has Deneb from genesis on and nothing after.
func testNetwork() network.Network {
	n := network.Network{
		Name:                  "test",
		GenesisValidatorsRoot: root(validatorsRoot),
		SecondsPerSlot:        12,
		SlotsPerEpoch:         32,
		SyncCommitteeSize:     512,
		MaxCommitteesPerSlot:  64,
	}
	for f := range n.Forks {
		n.Forks[f] = network.Activation{Version: network.Version{byte(f), 0, 0, 1}, Epoch: network.FarFuture}
		if network.Fork(f) <= network.Deneb {
			n.Forks[f].Epoch = 0
		}
	}
	return n
}

func root(s string) (out [32]byte) {
	data, err := hex.DecodeString(strings.TrimPrefix(s, "0x"))
	if err != nil {
		panic(err)
	}
	return [32]byte(data)
}

func testKey(t testing.TB, n byte) *bls.SecretKey {
	t.Helper()
	key, err := bls.NewSecretKey(&[32]byte{31: n})
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func loaded(t testing.TB, keys ...*bls.SecretKey) *ethereum.Service {
	t.Helper()
	return loadedWith(t, slashingtest.NewMemory(root(validatorsRoot)), keys...)
}

func loadedWith(t testing.TB, store slashing.Store, keys ...*bls.SecretKey) *ethereum.Service {
	t.Helper()
	service := ethereum.New(nil)
	if err := service.Load(ethereum.Config{Network: testNetwork(), Keys: keys, Slashing: store}); err != nil {
		t.Fatal(err)
	}
	return service
}

const forkInfo = `"fork_info":{"fork":{"previous_version":"0x04000001","current_version":"0x04000001","epoch":"0"},"genesis_validators_root":"` + validatorsRoot + `"}`

func attestation(source, target int, block string) string {
	return fmt.Sprintf(`{"type":"ATTESTATION",%s,"attestation":{"slot":"%d","index":"0","beacon_block_root":"0x%064s",
		"source":{"epoch":"%d","root":"0x%064s"},"target":{"epoch":"%d","root":"0x%064s"}}}`,
		forkInfo, target*32, block, source, "1", target, "2")
}

func block(slot int, body string) string {
	return fmt.Sprintf(`{"type":"BLOCK_V2",%s,"beacon_block":{"version":"DENEB","block_header":{"slot":"%d","proposer_index":"7",
		"parent_root":"0x%064s","state_root":"0x%064s","body_root":"0x%064s"}}}`, forkInfo, slot, "1", "2", body)
}

// post asks a service to sign and returns the recorded answer.
func post(service *ethereum.Service, identifier, body string, accept ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("POST", "/api/v1/eth2/sign/"+identifier, strings.NewReader(body))
	for _, a := range accept {
		r.Header.Add("Accept", a)
	}
	w := httptest.NewRecorder()
	service.Handler().ServeHTTP(w, r)
	return w
}

func get(service *ethereum.Service, method, path string, accept ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	for _, a := range accept {
		r.Header.Add("Accept", a)
	}
	w := httptest.NewRecorder()
	service.Handler().ServeHTTP(w, r)
	return w
}

// wantError checks status and the form of the error, and returns its text.
func wantError(t *testing.T, w *httptest.ResponseRecorder, status int) string {
	t.Helper()
	var answer struct {
		Error string
		Code  int
	}
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		t.Fatalf("got %d %q, want a JSON error", w.Code, w.Body)
	}
	if w.Code != status || answer.Code != status || answer.Error == "" {
		t.Errorf("got %d %s, want %d with the same code and a text", w.Code, w.Body, status)
	}
	if got := w.Header().Get("Content-Type"); got != "application/json; charset=utf-8" {
		t.Errorf("content type of an error: got %q", got)
	}
	return answer.Error
}

func TestBeforeLoadThereAreNoKeys(t *testing.T) {
	service := ethereum.New(nil)
	if w := get(service, "GET", "/api/v1/eth2/publicKeys"); w.Code != 200 || w.Body.String() != "[]" {
		t.Errorf("publicKeys: got %d %s, want 200 []", w.Code, w.Body)
	}
	w := post(service, testKey(t, 1).PublicKey().String(), attestation(0, 1, "a"))
	wantError(t, w, http.StatusNotFound)
	if keys := service.PublicKeys(); len(keys) != 0 {
		t.Errorf("got %d public keys, want none", len(keys))
	}
}

func TestLoadSucceedsOnce(t *testing.T) {
	service := loaded(t, testKey(t, 1))
	again := ethereum.Config{Network: testNetwork(), Keys: []*bls.SecretKey{testKey(t, 2)}, Slashing: slashingtest.NewMemory(root(validatorsRoot))}
	if err := service.Load(again); !errors.Is(err, ethereum.ErrLoaded) {
		t.Errorf("second load: got %v, want %v", err, ethereum.ErrLoaded)
	}
	if keys := service.PublicKeys(); len(keys) != 1 || keys[0] != testKey(t, 1).PublicKey() {
		t.Errorf("keys after a refused load: %v", keys)
	}
}

func TestAnIncompleteConfigIsRefused(t *testing.T) {
	store := slashingtest.NewMemory(root(validatorsRoot))
	key := testKey(t, 1)
	for name, config := range map[string]ethereum.Config{
		"zero":         {},
		"no network":   {Keys: []*bls.SecretKey{key}, Slashing: store},
		"no store":     {Network: testNetwork(), Keys: []*bls.SecretKey{key}},
		"nil key":      {Network: testNetwork(), Keys: []*bls.SecretKey{nil}, Slashing: store},
		"empty key":    {Network: testNetwork(), Keys: []*bls.SecretKey{{}}, Slashing: store},
		"repeated key": {Network: testNetwork(), Keys: []*bls.SecretKey{key, testKey(t, 1)}, Slashing: store},
	} {
		service := ethereum.New(nil)
		if err := service.Load(config); err == nil {
			t.Errorf("%s: loaded", name)
		}
		if len(service.PublicKeys()) != 0 {
			t.Errorf("%s: has keys after a refused load", name)
		}
	}
}

func TestPublicKeysAreListedInLowerCase(t *testing.T) {
	service := loaded(t, testKey(t, 1), testKey(t, 2))
	w := get(service, "GET", "/api/v1/eth2/publicKeys", "application/json")
	var keys []string
	if err := json.Unmarshal(w.Body.Bytes(), &keys); err != nil || w.Code != 200 {
		t.Fatalf("got %d %s", w.Code, w.Body)
	}
	if got := w.Header().Get("Content-Type"); got != "application/json; charset=utf-8" {
		t.Errorf("content type: got %q", got)
	}
	want := map[string]bool{testKey(t, 1).PublicKey().String(): true, testKey(t, 2).PublicKey().String(): true}
	for _, key := range keys {
		if !want[key] || key != strings.ToLower(key) {
			t.Errorf("unexpected key %s", key)
		}
		delete(want, key)
	}
	if len(want) != 0 {
		t.Errorf("not listed: %v", want)
	}
}

func TestAClientIsShownTheKeysThatItMayUse(t *testing.T) {
	var client policy.Client
	service := configured(t, func(c *ethereum.Config) { c.Client = func(*http.Request) policy.Client { return client } }, testKey(t, 1), testKey(t, 2), testKey(t, 3))
	for name, test := range map[string]struct {
		keys []bls.PublicKey
		want []bls.PublicKey
	}{
		"two of three":         {[]bls.PublicKey{public(t, 2), public(t, 1), public(t, 2)}, []bls.PublicKey{public(t, 1), public(t, 2)}},
		"one that is not here": {[]bls.PublicKey{public(t, 9), public(t, 3)}, []bls.PublicKey{public(t, 3)}},
		"none":                 {nil, []bls.PublicKey{}},
	} {
		client = policy.Client{Name: "vc", Keys: test.keys}
		var got []string
		answer := httptest.NewRecorder()
		service.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/api/v1/eth2/publicKeys", nil))
		if err := json.Unmarshal(answer.Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		want := make([]string, len(test.want))
		for i, key := range test.want {
			want[i] = key.String()
		}
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestPublicKeysAreOnlyJSON(t *testing.T) {
	service := loaded(t)
	for accept, status := range map[string]int{"application/json": 200, "*/*": 200, "text/html, application/*;q=0.1": 200, "text/plain": 406} {
		if w := get(service, "GET", "/api/v1/eth2/publicKeys", accept); w.Code != status {
			t.Errorf("Accept %s: got %d, want %d", accept, w.Code, status)
		}
	}
}

func TestTheAnswersFormFollowsAccept(t *testing.T) {
	key := testKey(t, 1)
	service := loaded(t, key)
	message, err := signing.Parse([]byte(attestation(0, 1, "a")), &[]network.Network{testNetwork()}[0])
	if err != nil {
		t.Fatal(err)
	}
	signature, err := key.Sign(message.SigningRoot)
	if err != nil {
		t.Fatal(err)
	}
	const text, asJSON = "text/plain; charset=utf-8", "application/json; charset=utf-8"
	for _, c := range []struct {
		name        string
		accept      []string
		contentType string
	}{
		{"Prysm and Teku send none", nil, text},
		{"Lighthouse, Lodestar and Nimbus", []string{"application/json"}, asJSON},
		{"Vero", []string{"*/*"}, asJSON},
		{"any case", []string{"Application/JSON"}, asJSON},
		{"weights are ignored", []string{"text/plain;q=1, application/json;q=0.1"}, asJSON},
		{"a second header", []string{"text/plain", "application/json"}, asJSON},
		{"text only", []string{"text/plain"}, text},
		{"something else", []string{"text/html, image/png"}, text},
	} {
		w := post(service, key.PublicKey().String(), attestation(0, 1, "a"), c.accept...)
		want := signature.String()
		if c.contentType == asJSON {
			want = `{"signature":"` + want + `"}`
		}
		if w.Code != 200 || w.Body.String() != want || w.Header().Get("Content-Type") != c.contentType {
			t.Errorf("%s: got %d %q %q, want 200 %q %q", c.name, w.Code, w.Header().Get("Content-Type"), w.Body, c.contentType, want)
		}
	}
	if !bls.Verify(key.PublicKey(), message.SigningRoot, signature) {
		t.Error("the signature does not verify")
	}
}

func TestIdentifiersAreTakenInEverySpelling(t *testing.T) {
	key := testKey(t, 1)
	service := loaded(t, key)
	name := key.PublicKey().String()
	for _, identifier := range []string{name, name[2:], strings.ToUpper(name), "0x" + strings.ToUpper(name[2:])} {
		if w := post(service, identifier, block(1, "a")); w.Code != 200 {
			t.Errorf("%s: got %d %s", identifier, w.Code, w.Body)
		}
	}
}

func TestAnUnknownKeyIs404(t *testing.T) {
	service := loaded(t, testKey(t, 1))
	for _, identifier := range []string{testKey(t, 2).PublicKey().String(), "0x12", "x"} {
		wantError(t, post(service, identifier, block(1, "a")), http.StatusNotFound)
	}
	// A malformed request says so even then: 400 goes before 404.
	wantError(t, post(service, "0x12", "{"), http.StatusBadRequest)
}

func TestMalformedRequestsAre400(t *testing.T) {
	service := loaded(t, testKey(t, 1))
	for _, body := range []string{
		"", "null", "[]", "{}", `{"type":7}`, `{"type":"NONE"}`, `{"type":"ATTESTATION"}`,
		`{"type":"ATTESTATION",` + forkInfo + `}`,
		strings.Replace(attestation(0, 1, "a"), `"index":"0"`, `"index":"-1"`, 1),
		strings.Replace(attestation(0, 1, "a"), `"0x04000001"`, `"0x040000"`, 1),
		attestation(0, 1, "a") + "x",
		`{"signing_root":"0x` + strings.Repeat("00", 32) + `",` + attestation(0, 1, "a")[1:],
	} {
		wantError(t, post(service, testKey(t, 1).PublicKey().String(), body), http.StatusBadRequest)
	}
}

func TestABodyOverTheLimitIs413(t *testing.T) {
	service := loaded(t, testKey(t, 1))
	body := strings.Repeat(" ", 8<<20) + block(1, "a")
	wantError(t, post(service, testKey(t, 1).PublicKey().String(), body), http.StatusRequestEntityTooLarge)
	body = strings.Repeat(" ", 8<<20-len(block(1, "a"))) + block(1, "a")
	if w := post(service, testKey(t, 1).PublicKey().String(), body); w.Code != 200 {
		t.Errorf("a body at the limit: got %d %s, want 200", w.Code, w.Body)
	}
}

func TestOtherMethodsAndPaths(t *testing.T) {
	service := loaded(t, testKey(t, 1))
	key := testKey(t, 1).PublicKey().String()
	for _, c := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"GET", "/api/v1/eth2/sign/" + key, 405, "POST"},
		{"DELETE", "/api/v1/eth2/sign/" + key, 405, "POST"},
		{"POST", "/api/v1/eth2/publicKeys", 405, "GET, HEAD"},
		{"GET", "/", 404, ""},
		{"POST", "/api/v1/eth2/sign/", 404, ""},
		{"POST", "/api/v1/eth2/sign/" + key + "/x", 404, ""},
		{"GET", "/api/v1/eth1/publicKeys", 404, ""},
	} {
		w := get(service, c.method, c.path)
		wantError(t, w, c.status)
		if got := w.Header().Get("Allow"); got != c.allow {
			t.Errorf("%s %s: Allow %q, want %q", c.method, c.path, got, c.allow)
		}
	}
}

func TestSlashableDutiesAre412(t *testing.T) {
	key := testKey(t, 1)
	name := key.PublicKey().String()
	for _, c := range []struct {
		name          string
		first, second string
		status        int
	}{
		{"double vote", attestation(1, 2, "a"), attestation(1, 2, "b"), 412},
		{"surrounding vote", attestation(2, 3, "a"), attestation(1, 4, "a"), 412},
		{"surrounded vote", attestation(1, 4, "a"), attestation(2, 3, "a"), 412},
		{"double block", block(5, "a"), block(5, "b"), 412},
		{"older block", block(5, "a"), block(4, "a"), 412},
		{"the same vote again", attestation(1, 2, "a"), attestation(1, 2, "a"), 200},
		{"the same block again", block(5, "a"), block(5, "a"), 200},
		{"next vote", attestation(1, 2, "a"), attestation(2, 3, "a"), 200},
		{"next block", block(5, "a"), block(6, "a"), 200},
		{"vote after block", block(5, "a"), attestation(0, 1, "a"), 200},
	} {
		service := loaded(t, key)
		first := post(service, name, c.first)
		if first.Code != 200 {
			t.Fatalf("%s: first: got %d %s", c.name, first.Code, first.Body)
		}
		second := post(service, name, c.second)
		if second.Code != c.status {
			t.Errorf("%s: got %d %s, want %d", c.name, second.Code, second.Body, c.status)
		}
		if c.status == 412 {
			wantError(t, second, 412)
		}
		if c.first == c.second && first.Body.String() != second.Body.String() {
			t.Errorf("%s: the signature changed", c.name)
		}
	}
}

func TestDifferentKeysDoNotShareHistory(t *testing.T) {
	service := loaded(t, testKey(t, 1), testKey(t, 2))
	for n, body := range map[byte]string{1: "a", 2: "b"} {
		if w := post(service, testKey(t, n).PublicKey().String(), block(5, body)); w.Code != 200 {
			t.Errorf("key %d: got %d %s", n, w.Code, w.Body)
		}
	}
}

func TestAnotherNetworksMessageIs412(t *testing.T) {
	service := loaded(t, testKey(t, 1))
	for _, body := range []string{
		attestation(0, 1, "a"),
		`{"type":"RANDAO_REVEAL",` + forkInfo + `,"randao_reveal":{"epoch":"3"}}`,
	} {
		other := strings.Replace(body, validatorsRoot, "0x"+strings.Repeat("11", 32), 1)
		if text := wantError(t, post(service, testKey(t, 1).PublicKey().String(), other), 412); !strings.Contains(text, "genesis validators root") {
			t.Errorf("got %q, want it to name the root", text)
		}
	}
}

func exit(epoch int) string {
	return fmt.Sprintf(`{"type":"VOLUNTARY_EXIT",%s,"voluntary_exit":{"epoch":"%d","validator_index":"7"}}`, forkInfo, epoch)
}

func TestExitsAndDepositsAre403UnlessAClientMayAsk(t *testing.T) {
	key := testKey(t, 1)
	deposit := `{"type":"DEPOSIT","deposit":{"pubkey":"` + key.PublicKey().String() + `","withdrawal_credentials":"0x` +
		strings.Repeat("00", 32) + `","amount":"32","genesis_fork_version":"0x00000001"}}`
	for _, body := range []string{exit(3), deposit} {
		text := wantError(t, post(loaded(t, key), key.PublicKey().String(), body), http.StatusForbidden)
		if !strings.Contains(text, "may not have type") {
			t.Errorf("got %q, want it to name the rule", text)
		}
	}
}

func TestTheClientOfARequestIsJudged(t *testing.T) {
	key := testKey(t, 1)
	service := ethereum.New(nil)
	err := service.Load(ethereum.Config{
		Network:  testNetwork(),
		Keys:     []*bls.SecretKey{key},
		Slashing: slashingtest.NewMemory(root(validatorsRoot)),
		Client: func(r *http.Request) policy.Client {
			if r.Header.Get("Accept") == "application/json" {
				return policy.Client{Name: "exits", AnyKey: true, Types: []signing.Type{signing.VoluntaryExit}}
			}
			return policy.Client{Name: "nobody"}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if w := post(service, key.PublicKey().String(), exit(3), "application/json"); w.Code != 200 {
		t.Errorf("an exit for who may ask: got %d %s", w.Code, w.Body)
	}
	wantError(t, post(service, key.PublicKey().String(), exit(3)), http.StatusForbidden)
}

func TestWhatPolicyRefusesIsNotRecorded(t *testing.T) {
	key := testKey(t, 1)
	store := storeFunc(func() slashing.Decision {
		t.Error("the store was asked")
		return slashing.Decision{}
	})
	service := ethereum.New(nil)
	err := service.Load(ethereum.Config{
		Network: testNetwork(), Keys: []*bls.SecretKey{key}, Slashing: store,
		Client: func(*http.Request) policy.Client { return policy.Client{Name: "nobody"} },
	})
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, post(service, key.PublicKey().String(), block(5, "a")), http.StatusForbidden)
}

// storeFunc is a slashing store of one function.
type storeFunc func() slashing.Decision

func (f storeFunc) Record(context.Context, slashing.Root, slashing.PublicKey, slashing.Duty) slashing.Decision {
	return f()
}

func TestWithoutAPositiveAnswerNothingIsSigned(t *testing.T) {
	for name, store := range map[string]storeFunc{
		"failed":      func() slashing.Decision { return slashing.Fail(errors.New("disk is full")) },
		"no decision": func() slashing.Decision { return slashing.Decision{} },
		"nonsense":    func() slashing.Decision { return slashing.Decision{Answer: 77} },
	} {
		service := loadedWith(t, store, testKey(t, 1))
		w := post(service, testKey(t, 1).PublicKey().String(), block(1, "a"))
		if text := wantError(t, w, http.StatusInternalServerError); name == "failed" && !strings.Contains(text, "disk is full") {
			t.Errorf("%s: got %q, want the store's reason", name, text)
		}
		randao := `{"type":"RANDAO_REVEAL",` + forkInfo + `,"randao_reveal":{"epoch":"3"}}`
		if w := post(service, testKey(t, 1).PublicKey().String(), randao); w.Code != 200 {
			t.Errorf("%s: a duty that is not slashable needs no store: got %d %s", name, w.Code, w.Body)
		}
	}
}

func TestRacingTwinsAreSignedOnce(t *testing.T) {
	key := testKey(t, 1)
	service := loaded(t, key)
	var group sync.WaitGroup
	codes := make([]int, 32)
	for i := range codes {
		group.Go(func() { codes[i] = post(service, key.PublicKey().String(), block(9, fmt.Sprint(i))).Code })
	}
	group.Wait()
	signed := 0
	for _, code := range codes {
		if code == 200 {
			signed++
		} else if code != 412 {
			t.Errorf("got %d, want 200 or 412", code)
		}
	}
	if signed != 1 {
		t.Errorf("%d of %d conflicting blocks were signed, want 1", signed, len(codes))
	}
}

func TestRefusalsAreLoggedWithTheirReason(t *testing.T) {
	var log bytes.Buffer
	service := ethereum.New(slog.New(slog.NewTextHandler(&log, nil)))
	key := testKey(t, 1)
	err := service.Load(ethereum.Config{Network: testNetwork(), Keys: []*bls.SecretKey{key}, Slashing: slashingtest.NewMemory(root(validatorsRoot))})
	if err != nil {
		t.Fatal(err)
	}
	post(service, key.PublicKey().String(), block(5, "a"))
	post(service, key.PublicKey().String(), block(5, "b"))
	for _, want := range []string{"reason=double_block", "type=BLOCK_V2", "level=WARN", key.PublicKey().String()} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("log lacks %s: %s", want, log.String())
		}
	}
}

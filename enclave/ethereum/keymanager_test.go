package ethereum_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"holdfast/enclave/ethereum"
	"holdfast/enclave/slashing"
	"holdfast/enclave/slashing/slashingtest"
)

// sealed makes a keystore of key n with a cheap derivation.
func sealed(t testing.TB, n byte, password string) string {
	t.Helper()
	salt, iv := bytes.Repeat([]byte{n}, 32), bytes.Repeat([]byte{n}, 16)
	derived, err := pbkdf2.Key(sha256.New, password, salt, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	cipherBlock, err := aes.NewCipher(derived[:16])
	if err != nil {
		t.Fatal(err)
	}
	message := [32]byte{31: n}
	cipher.NewCTR(cipherBlock, iv).XORKeyStream(message[:], message[:])
	sum := sha256.Sum256(append(derived[16:32:32], message[:]...))
	return fmt.Sprintf(`{"crypto":{"kdf":{"function":"pbkdf2","params":{"dklen":32,"c":10,"prf":"hmac-sha256","salt":"%x"},"message":""},
		"checksum":{"function":"sha256","params":{},"message":"%x"},
		"cipher":{"function":"aes-128-ctr","params":{"iv":"%x"},"message":"%x"}},
		"description":"","pubkey":"%s","path":"m/12381/3600/%d/0/0","uuid":"64625def-3331-4eea-ab6f-782f3ed16a83","version":4}`,
		salt, sum, iv, message, public(t, n).String()[2:], n)
}

func importBody(t testing.TB, keystores, passwords []string, protection string) string {
	t.Helper()
	body := map[string]any{"keystores": keystores, "passwords": passwords}
	if protection != "" {
		body["slashing_protection"] = protection
	}
	data, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func manage(service *ethereum.Service, method, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	service.KeyManager().ServeHTTP(w, httptest.NewRequest(method, "/eth/v1/keystores", strings.NewReader(body)))
	return w
}

// statuses returns the statuses of an answer, and what was exported.
func statuses(t *testing.T, w *httptest.ResponseRecorder) ([]string, string) {
	t.Helper()
	var answer struct {
		Data []struct {
			Status  string
			Message *string
		}
		SlashingProtection string `json:"slashing_protection"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != 200 {
		t.Fatalf("got %d %s", w.Code, w.Body)
	}
	found := []string{}
	for _, d := range answer.Data {
		found = append(found, d.Status)
		if (d.Status == "error") != (d.Message != nil) {
			t.Errorf("status %s with message %v", d.Status, d.Message)
		}
	}
	return found, answer.SlashingProtection
}

// history is an interchange in which each key has signed a block and a vote.
func history(network string, slot, target int, publics ...string) string {
	var data []string
	for _, p := range publics {
		data = append(data, fmt.Sprintf(`{"pubkey":"%s","signed_blocks":[{"slot":"%d"}],"signed_attestations":[{"source_epoch":"%d","target_epoch":"%d"}]}`,
			p, slot, target-1, target))
	}
	return fmt.Sprintf(`{"metadata":{"interchange_format_version":"5","genesis_validators_root":"%s"},"data":[%s]}`, network, strings.Join(data, ","))
}

func TestKeystoresAreListedInOrder(t *testing.T) {
	if w := manage(ethereum.New(nil), "GET", ""); w.Code != 200 || w.Body.String() != `{"data":[]}` {
		t.Errorf("before Load: got %d %s", w.Code, w.Body)
	}
	service := loaded(t, testKey(t, 1))
	imported(t, service, 2)
	lines := []string{
		fmt.Sprintf(`{"validating_pubkey":"%s","derivation_path":null,"readonly":true}`, public(t, 1)),
		fmt.Sprintf(`{"validating_pubkey":"%s","derivation_path":"m/12381/3600/0/0/0","readonly":false}`, public(t, 2)),
	}
	slices.Sort(lines)
	if w := manage(service, "GET", ""); w.Code != 200 || w.Body.String() != `{"data":[`+strings.Join(lines, ",")+`]}` {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

func TestKeystoresAreImportedWithTheirHistory(t *testing.T) {
	store := slashingtest.NewMemory(root(validatorsRoot))
	service := loadedWith(t, store, testKey(t, 1))
	protection := history(validatorsRoot, 100, 10, public(t, 2).String(), public(t, 9).String())
	w := manage(service, "POST", importBody(t,
		[]string{sealed(t, 2, "pa\u0308ssword\"\\"), sealed(t, 3, "right"), sealed(t, 1, "x"), sealed(t, 2, "y"), "{}"},
		[]string{"pässword\n\"\\", "wrong", "x", "y", "z"}, protection))
	if got, _ := statuses(t, w); !slices.Equal(got, []string{"imported", "error", "duplicate", "duplicate", "error"}) {
		t.Errorf("got %s", w.Body)
	}
	wantSigns(t, service, map[byte]bool{1: true, 2: true, 3: false})
	for body, status := range map[string]int{block(100, "a"): 412, block(101, "a"): 200, attestation(9, 10, "a"): 412, attestation(10, 11, "a"): 200} {
		if w := post(service, public(t, 2).String(), body); w.Code != status {
			t.Errorf("%s: got %d %s, want %d", body, w.Code, w.Body, status)
		}
	}
	all, err := store.Export(t.Context(), nil)
	if err != nil || len(all.States) != 1 {
		t.Errorf("got %+v, %v: another key's history was imported", all.States, err)
	}
	listed := manage(service, "GET", "").Body.String()
	if !strings.Contains(listed, `"derivation_path":"m/12381/3600/2/0/0","readonly":false`) {
		t.Errorf("got %s, want the keystore's path", listed)
	}
}

func TestIfTheHistoryIsRefusedNothingIsImported(t *testing.T) {
	for what, protection := range map[string]string{
		"another network's": history("0x"+strings.Repeat("11", 32), 100, 10, public(t, 2).String()),
		"not JSON":          "{",
		"another version":   strings.Replace(history(validatorsRoot, 1, 1), `"5"`, `"4"`, 1),
	} {
		service := loaded(t, testKey(t, 1))
		text := wantError(t, manage(service, "POST", importBody(t, []string{sealed(t, 2, "x")}, []string{"x"}, protection)), 400)
		if !strings.Contains(text, "nothing was imported") {
			t.Errorf("%s: got %q", what, text)
		}
		wantSigns(t, service, map[byte]bool{2: false})
	}
}

func TestAnImportThatMakesNoSenseIs400(t *testing.T) {
	service := loaded(t)
	for what, body := range map[string]string{
		"not JSON":         `{"passwords":["hunter2",`,
		"a list":           `[]`,
		"unequal":          importBody(t, []string{sealed(t, 2, "hunter2")}, []string{"hunter2", "hunter2"}, ""),
		"password missing": importBody(t, []string{sealed(t, 2, "hunter2")}, nil, ""),
		"number":           `{"keystores":["{}"],"passwords":[7]}`,
		"null":             `{"keystores":["{}"],"passwords":[null]}`,
		"half a pair":      `{"keystores":["{}"],"passwords":["hunter2\ud800"]}`,
		"pair the wrong":   `{"keystores":["{}"],"passwords":["hunter2\udc00\ud800"]}`,
		"keystore object":  `{"keystores":[{}],"passwords":["hunter2"]}`,
		"too many":         importBody(t, make([]string, 257), make([]string, 257), ""),
	} {
		if text := wantError(t, manage(service, "POST", body), 400); strings.Contains(text, "hunter2") {
			t.Errorf("%s: the error shows a password: %s", what, text)
		}
	}
	for _, body := range []string{`{}`, `{"keystores":[],"passwords":[]}`, `{"keystores":[],"passwords":[],"more":1}`} {
		if w := manage(service, "POST", body); w.Code != 200 || w.Body.String() != `{"data":[]}` {
			t.Errorf("nothing to import: got %d %s", w.Code, w.Body)
		}
	}
}

func TestPasswordsAreReadAsJSONWritesThem(t *testing.T) {
	const password = "q\"b\\s/ü𝔱🔑 x"
	for _, literal := range []string{
		`"q\"b\\s/ü𝔱🔑 x"`,
		`"\u0071\u0022b\u005Cs\/\u00fc\ud835\udd31\uD83D\uDD11\u0020x"`,
		`"\b\f\n\r\tq\"b\\s/ü𝔱🔑 x\n"`, // without the controls, as EIP-2335 asks
	} {
		service := loaded(t)
		file, err := json.Marshal(sealed(t, 2, "q\"b\\s/u\u0308t\U0001f511 x"))
		if err != nil {
			t.Fatal(err)
		}
		w := manage(service, "POST", fmt.Sprintf(`{"keystores":[%s],"passwords":[%s]}`, file, literal))
		if got, _ := statuses(t, w); !slices.Equal(got, []string{"imported"}) {
			t.Errorf("%s for %q: got %s", literal, password, w.Body)
		}
	}
}

func TestNoPasswordAndNoSecretIsLoggedOrAnswered(t *testing.T) {
	var log bytes.Buffer
	service := ethereum.New(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err := service.Load(ethereum.Config{Network: testNetwork(), Slashing: slashingtest.NewMemory(root(validatorsRoot))}); err != nil {
		t.Fatal(err)
	}
	claims := strings.Replace(sealed(t, 2, "hunter2"), public(t, 2).String()[2:], public(t, 3).String()[2:], 1)
	secretHex := hex.EncodeToString(append(make([]byte, 31), 2))
	for _, body := range []string{
		importBody(t, []string{sealed(t, 2, "other")}, []string{"hunter2"}, ""),
		importBody(t, []string{claims}, []string{"hunter2"}, ""),
		importBody(t, []string{sealed(t, 2, "hunter2")}, []string{"hunter2"}, "{"),
		importBody(t, []string{"hunter2"}, []string{"hunter2"}, ""),
		`{"passwords":"hunter2"}`, `"hunter2"`, `{"hunter2`,
	} {
		w := manage(service, "POST", body)
		for _, shown := range []string{w.Body.String(), log.String()} {
			if strings.Contains(shown, "hunter2") || strings.Contains(shown, secretHex) {
				t.Errorf("%s: a secret is shown: %s", body, shown)
			}
		}
	}
	wantSigns(t, service, map[byte]bool{2: false, 3: false})
}

func deleteBody(names ...string) string {
	data, _ := json.Marshal(map[string]any{"pubkeys": append([]string{}, names...)})
	return string(data)
}

func TestADeletedKeyTakesItsHistoryAlong(t *testing.T) {
	service := loaded(t, testKey(t, 1))
	imported(t, service, 2, 3)
	for _, n := range []byte{1, 2, 3} {
		if w := post(service, public(t, n).String(), block(50+int(n), "a")); w.Code != 200 {
			t.Fatalf("got %d %s", w.Code, w.Body)
		}
	}
	body := deleteBody(public(t, 2).String(), public(t, 1).String(), public(t, 9).String(), strings.ToUpper(public(t, 2).String()[2:]))
	got, exported := statuses(t, manage(service, "DELETE", body))
	if !slices.Equal(got, []string{"deleted", "error", "not_found", "not_active"}) {
		t.Errorf("got %v", got)
	}
	document, err := slashing.ReadInterchange(strings.NewReader(exported))
	if err != nil || len(document.States) != 1 || document.States[slashing.PublicKey(public(t, 2))].Block.Slot != 52 || document.GenesisValidatorsRoot != root(validatorsRoot) {
		t.Errorf("exported %s, %v: want key 2's block at slot 52 alone", exported, err)
	}
	wantSigns(t, service, map[byte]bool{1: true, 2: false, 3: true})

	again, second := statuses(t, manage(service, "DELETE", deleteBody(public(t, 2).String())))
	if !slices.Equal(again, []string{"not_active"}) || second != exported {
		t.Errorf("again: got %v and %s, want the same export", again, second)
	}

	// Back with the export, the key may go on but not repeat itself.
	manage(service, "POST", importBody(t, []string{sealed(t, 2, "x")}, []string{"x"}, exported))
	for slot, status := range map[int]int{52: 412, 53: 200} {
		if w := post(service, public(t, 2).String(), block(slot, "b")); w.Code != status {
			t.Errorf("slot %d: got %d %s, want %d", slot, w.Code, w.Body, status)
		}
	}
}

func TestADeletionThatMakesNoSenseIs400(t *testing.T) {
	service := loaded(t, testKey(t, 1))
	for _, body := range []string{"", "{", "{}", "[]", `{"pubkeys":7}`, `{"pubkeys":[7]}`, deleteBody("0x12"), deleteBody(public(t, 1).String(), "x")} {
		wantError(t, manage(service, "DELETE", body), 400)
	}
	if got, exported := statuses(t, manage(service, "DELETE", deleteBody())); len(got) != 0 || !strings.Contains(exported, `"data":[]`) {
		t.Errorf("got %v, %s", got, exported)
	}
}

func TestKeysDoNotMoveWithoutAnArchive(t *testing.T) {
	service := loadedWith(t, storeFunc(func() slashing.Decision { return slashing.Decision{} }), testKey(t, 1))
	wantError(t, manage(service, "POST", importBody(t, []string{sealed(t, 2, "x")}, []string{"x"}, "")), 500)
	imported(t, service, 2)
	wantError(t, manage(service, "DELETE", deleteBody(public(t, 2).String())), 500)
	wantSigns(t, service, map[byte]bool{2: true})
	for _, method := range []string{"POST", "DELETE"} {
		wantError(t, manage(ethereum.New(nil), method, "{}"), 503)
	}
}

func TestTheKeyManagerIsNotAmongTheSignersRoutes(t *testing.T) {
	if w := get(loaded(t), "GET", "/eth/v1/keystores"); w.Code != 404 {
		t.Errorf("got %d, want 404: nobody has authenticated", w.Code)
	}
	if w := manage(loaded(t), "PUT", ""); w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD, POST, DELETE" {
		t.Errorf("PUT: got %d, Allow %q", w.Code, w.Header().Get("Allow"))
	}
}

func FuzzImport(f *testing.F) {
	f.Add(importBody(f, []string{sealed(f, 2, "x")}, []string{"x"}, history(validatorsRoot, 1, 2, public(f, 2).String())))
	f.Add(`{"keystores":["{}"],"passwords":["\ud83d\udd11\\"]}`)
	f.Add(`{"keystores":[],"passwords":[]}`)
	f.Fuzz(func(t *testing.T, body string) {
		if w := manage(loaded(t), "POST", body); w.Code != 200 && w.Code != 400 {
			t.Fatalf("got %d %s", w.Code, w.Body)
		}
	})
}

package ethereum_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"holdfast/enclave/ethereum"
	"holdfast/enclave/ethereum/bls"
	"holdfast/enclave/ethereum/network"
	"holdfast/enclave/ethereum/policy"
	"holdfast/enclave/ethereum/signing"
	"holdfast/enclave/slashing/slashingtest"
)

// recorded is a request in a client's form, with the answer that it needs.
type recorded struct {
	Method, Path string
	Headers      map[string]string
	Body         json.RawMessage
	Answer       struct {
		Status      int
		ContentType string `json:"content_type"`
		Body        string
	}
}

func readRecorded(t *testing.T, file string) recorded {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var r recorded
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return r
}

func mainnet(t testing.TB) network.Network {
	t.Helper()
	n, ok := network.ByName("mainnet")
	if !ok {
		t.Fatal("no mainnet")
	}
	return n
}

func TestEveryClientGetsTheAnswerItNeeds(t *testing.T) {
	for _, client := range []string{"lighthouse", "prysm", "teku", "lodestar", "nimbus", "vero"} {
		t.Run(client, func(t *testing.T) {
			files, err := filepath.Glob("testdata/clients/" + client + "/*.json")
			if err != nil || len(files) < 10 {
				t.Fatalf("got %d requests, %v", len(files), err)
			}
			server := mainnetServer(t)
			slices.Sort(files)
			for _, file := range files {
				replay(t, server, file, readRecorded(t, file))
			}
		})
	}
}

// mainnetServer runs a signer of key 1 whose clients may also ask for exits.
func mainnetServer(t *testing.T) *httptest.Server {
	service := ethereum.New(nil)
	chain := mainnet(t)
	client := policy.Duties("vc")
	client.Types = append(client.Types, signing.VoluntaryExit)
	err := service.Load(ethereum.Config{
		Network: chain, Keys: []*bls.SecretKey{testKey(t, 1)}, Slashing: slashingtest.NewMemory(chain.GenesisValidatorsRoot),
		Client: func(*http.Request) policy.Client { return client },
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewTLSServer(service.Handler())
	t.Cleanup(server.Close)
	return server
}

func replay(t *testing.T, server *httptest.Server, file string, r recorded) {
	request, err := http.NewRequestWithContext(t.Context(), r.Method, server.URL+r.Path, strings.NewReader(string(r.Body)))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("User-Agent", "") // and what the client itself sets
	for name, value := range r.Headers {
		request.Header.Set(name, value)
	}
	answer, err := server.Client().Do(request)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	if answer.StatusCode != r.Answer.Status || answer.Header.Get("Content-Type") != r.Answer.ContentType {
		t.Errorf("%s: got %d %q %s, want %d %q", file, answer.StatusCode, answer.Header.Get("Content-Type"), body, r.Answer.Status, r.Answer.ContentType)
		return
	}
	checkForm(t, file, &r, string(body))
}

// checkForm holds an answer to the form that a client can read.
func checkForm(t *testing.T, file string, r *recorded, body string) {
	switch r.Answer.Body {
	case "signature":
		checkSignature(t, file, r, body)
	case "error":
		var e struct{ Error string }
		if json.Unmarshal([]byte(body), &e) != nil || e.Error == "" {
			t.Errorf("%s: got %s, want an error with a text", file, body)
		}
	case "public_keys":
		if body != `["`+public(t, 1).String()+`"]` {
			t.Errorf("%s: got %s", file, body)
		}
	case "health":
		var h struct{ Status, Outcome string }
		if json.Unmarshal([]byte(body), &h) != nil || h.Status != "UP" || h.Outcome != "UP" {
			t.Errorf("%s: got %s, want status and outcome UP", file, body)
		}
	default:
		t.Errorf("%s: unknown form %q", file, r.Answer.Body)
	}
}

// checkSignature wants the bare signature in text, and an object of nothing else in
// JSON, and verifies it for the message's root.
func checkSignature(t *testing.T, file string, r *recorded, body string) {
	digits := body
	if strings.HasPrefix(r.Answer.ContentType, "application/json") {
		digits = strings.TrimSuffix(strings.TrimPrefix(body, `{"signature":"`), `"}`)
	}
	chain := mainnet(t)
	message, err := signing.Parse(r.Body, &chain)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	if len(digits) != 194 || !bls.Verify(public(t, 1), message.SigningRoot, signatureOf(t, digits)) {
		t.Errorf("%s: got %q, want a signature of %#x", file, body, message.SigningRoot)
	}
}

func signatureOf(t *testing.T, digits string) (s bls.Signature) {
	t.Helper()
	first, second, third := root(digits[:66]), root(digits[66:130]), root(digits[130:194])
	copy(s[:], slices.Concat(first[:], second[:], third[:]))
	return s
}

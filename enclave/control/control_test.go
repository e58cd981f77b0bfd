package control_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"holdfast/enclave/control"
	"holdfast/enclave/control/message"
	"holdfast/enclave/slashing"
	"holdfast/enclave/slashing/slashingtest"
)

// fake is an enclave that notes what it is asked.
type fake struct {
	archive  slashing.Archive
	fail     error
	calls    []string
	received any
}

func (f *fake) note(name string, received any) error {
	f.calls, f.received = append(f.calls, name), received
	return f.fail
}

func (f *fake) Status() message.Status                       { return message.Status{State: message.WaitingForKey} }
func (f *fake) Present(_ context.Context, data []byte) error { return f.note("present", string(data)) }
func (f *fake) SetCredentials(c message.Credentials) error   { return f.note("credentials", c) }
func (f *fake) Head() (message.Head, error)                  { return message.Head{Sequence: 7}, f.note("head", nil) }
func (f *fake) Vouch(s message.Statement) error              { return f.note("vouch", s) }
func (f *fake) PublicKeys() []slashing.PublicKey             { return []slashing.PublicKey{{0: 0xef}} }
func (f *fake) Bound() (epoch, slot uint64, err error)       { return 1000, 32000, nil }
func (f *fake) Archive() (slashing.Archive, error)           { return f.archive, f.note("archive", nil) }
func (f *fake) Generate(_ context.Context, g message.Generate) (message.Generated, error) {
	return message.Generated{PublicKeys: []string{"0x1"}}, f.note("generate", g)
}
func (f *fake) ImportTables(_ context.Context, t message.Tables) (message.Generated, error) {
	return message.Generated{}, f.note("tables", t)
}

var network = slashing.Root{0: 0x11}

func handler(t *testing.T, f *fake) string {
	t.Helper()
	if f.archive == nil {
		f.archive = slashingtest.NewMemory(network)
	}
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "metric 1\n") })
	logs := new(control.Ring)
	fmt.Fprintln(logs, "a line")
	server, err := control.New(control.Config{Enclave: f, Metrics: metrics, Logs: logs, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return "http://" + listener.Addr().String()
}

func call(t *testing.T, method, url, body string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(answer)
}

func TestEveryRouteReachesTheEnclave(t *testing.T) {
	for _, test := range []struct{ method, path, body, calls, want string }{
		{"GET", "/status", "", "", `"state":"waiting for the bundle's data key"`},
		{"GET", "/metrics", "", "", "metric 1"},
		{"GET", "/logs", "", "", `"a line"`},
		{"GET", "/logs?after=1", "", "", `"lines":[],"next":"1"`},
		{"PUT", "/bundle", "envelope", "present", `"state"`},
		{"PUT", "/credentials", `{"access_key_id":"A","secret_access_key":"B","session_token":"C","expiration":"2026-01-02T03:04:05Z"}`, "credentials", ""},
		{"GET", "/slashing/head", "", "head", `"sequence":"7"`},
		{"POST", "/slashing/vouch", `{"challenge":"1","head":"2","signature":"3"}`, "vouch", ""},
		{"POST", "/keys", `{"nonce":"","name":"a","version":1,"configuration":"e30=","count":3}`, "generate", `"0x1"`},
		{"POST", "/tables", `{"nonce":"","name":"a","version":1,"configuration":"e30=","validators":[]}`, "tables", ""},
	} {
		f := &fake{}
		status, answer := call(t, test.method, handler(t, f)+test.path, test.body)
		if status/100 != 2 || !strings.Contains(answer, test.want) || strings.Join(f.calls, " ") != test.calls {
			t.Errorf("%s %s: got %d %s after %q, want %s after %q", test.method, test.path, status, answer, f.calls, test.want, test.calls)
		}
	}
}

func TestAnErrorsKindIsItsStatus(t *testing.T) {
	for want, err := range map[int]error{
		400: errors.New("no such thing"),
		403: fmt.Errorf("%w: no", control.ErrRefused),
		409: fmt.Errorf("%w: no", control.ErrConflict),
		500: fmt.Errorf("%w: no", control.ErrFailed),
	} {
		status, answer := call(t, "PUT", handler(t, &fake{fail: err})+"/bundle", "x")
		var body struct {
			Error string
			Code  int
		}
		if json.Unmarshal([]byte(answer), &body) != nil || status != want || body.Code != want || body.Error != err.Error() {
			t.Errorf("got %d %s, want %d %v", status, answer, want, err)
		}
	}
}

func TestWhatIsNotAMessageIsRefusedAndNotRepeated(t *testing.T) {
	const secret = "SeCrEt"
	f := &fake{}
	url := handler(t, f)
	for _, body := range []string{
		secret, `{"` + secret + `":1}`, `{"secret_access_key":"` + secret + `"} trailing`, `{"secret_access_key":["` + secret + `"]}`,
		`{"expiration":"` + secret + `"}`, `"` + strings.Repeat(secret, 1<<18) + `"`, ``, `[]`,
	} {
		status, answer := call(t, "PUT", url+"/credentials", body)
		if status != 400 || strings.Contains(answer, secret) {
			t.Errorf("%.60s: got %d %s", body, status, answer)
		}
	}
	if len(f.calls) != 0 {
		t.Errorf("the enclave was asked %q", f.calls)
	}
}

func TestNoOtherRouteIsServed(t *testing.T) {
	url := handler(t, &fake{})
	for _, request := range [][2]string{{"GET", "/"}, {"POST", "/bundle"}, {"GET", "/api/v1/eth2/publicKeys"}, {"DELETE", "/slashing/watermarks"}, {"GET", "/debug/pprof/"}} {
		if status, answer := call(t, request[0], url+request[1], ""); status != 404 && status != 405 {
			t.Errorf("%s %s: got %d %s", request[0], request[1], status, answer)
		}
	}
}

func TestWatermarksAreRaisedAndNeverLowered(t *testing.T) {
	url := handler(t, &fake{})
	key := "0x" + strings.Repeat("ab", 48)
	raise := func(body string) []message.Watermark {
		t.Helper()
		status, answer := call(t, "POST", url+"/slashing/watermarks", body)
		var marks []message.Watermark
		if err := json.Unmarshal([]byte(answer), &marks); status != 200 || err != nil {
			t.Fatalf("got %d %s, %v", status, answer, err)
		}
		return marks
	}
	first := raise(`{"pubkeys":["` + key + `"],"slot":"100","source_epoch":"5","target_epoch":"6"}`)
	if len(first) != 1 || first[0].PublicKey != key || *first[0].Slot != 100 || *first[0].Source != 5 || *first[0].Target != 6 {
		t.Fatalf("got %+v", first)
	}
	lower := raise(`{"slot":"90","source_epoch":"4","target_epoch":"9"}`) // of every key of store and bundle
	if len(lower) != 2 || *lower[1].Slot != 90 {
		t.Errorf("got %+v, want the bundle's key too", lower)
	}
	if *lower[0].Slot != 100 || *lower[0].Source != 5 || *lower[0].Target != 9 {
		t.Errorf("got slot %d, source %d, target %d, want 100, 5 and 9", *lower[0].Slot, *lower[0].Source, *lower[0].Target)
	}
	for _, body := range []string{
		`{}`, `{"source_epoch":"1"}`, `{"source_epoch":"3","target_epoch":"2"}`, `{"slot":"-1"}`, `{"slot":1}`,
		`{"slot":"32001"}`, `{"source_epoch":"1","target_epoch":"1001"}`, `{"slot":"18446744073709551615"}`,
		`{"slot":"1","pubkeys":["0x12"]}`, `{"slot":"1","pubkeys":["` + strings.Repeat("zz", 49) + `"]}`,
	} {
		if status, answer := call(t, "POST", url+"/slashing/watermarks", body); status != 400 {
			t.Errorf("%s: got %d %s, want 400", body, status, answer)
		}
	}
}

func TestHistoryMovesAsADocument(t *testing.T) {
	from, to := handler(t, &fake{}), handler(t, &fake{})
	keys := []string{"0x" + strings.Repeat("ab", 48), "0x" + strings.Repeat("cd", 48)}
	call(t, "POST", from+"/slashing/watermarks", `{"pubkeys":["`+strings.Join(keys, `","`)+`"],"slot":"3","source_epoch":"1","target_epoch":"2"}`)
	call(t, "POST", to+"/slashing/watermarks", `{"pubkeys":["`+keys[0]+`"],"slot":"9","source_epoch":"8","target_epoch":"9"}`)
	_, document := call(t, "GET", from+"/slashing/interchange", "")
	status, answer := call(t, "POST", to+"/slashing/interchange", document)
	var result message.ImportResult
	if err := json.Unmarshal([]byte(answer), &result); status != 200 || err != nil || result.Keys[keys[0]] != "unchanged" || result.Keys[keys[1]] != "raised" {
		t.Fatalf("got %d %s, %v", status, answer, err)
	}
	other := strings.Replace(document, "0x11", "0x22", 1)
	if status, answer := call(t, "POST", to+"/slashing/interchange", other); status != 400 || !strings.Contains(answer, "network") {
		t.Errorf("another network's: got %d %s", status, answer)
	}
	if status, _ := call(t, "POST", to+"/slashing/interchange", "{}"); status != 400 {
		t.Errorf("no document: got %d", status)
	}
}

// The bounds of the fake enclave are epoch 1000 and slot 32000.
func TestHistoryFarAheadIsRefusedWhole(t *testing.T) {
	url := handler(t, &fake{})
	document := func(slot, source, target string) string {
		return `{"metadata":{"interchange_format_version":"5","genesis_validators_root":"` + fmt.Sprintf("%#x", network) + `"},"data":[{"pubkey":"0x` +
			strings.Repeat("ab", 48) + `","signed_blocks":[{"slot":"` + slot + `"}],"signed_attestations":[{"source_epoch":"` + source + `","target_epoch":"` + target + `"}]}]}`
	}
	const most = "18446744073709551615"
	for _, far := range []string{document("32001", "1", "2"), document("1", "1", "1001"), document("1", most, "2"), document(most, "1", "2")} {
		if status, answer := call(t, "POST", url+"/slashing/interchange", far); status != 400 || !strings.Contains(answer, "a day ahead") {
			t.Errorf("%s: got %d %s, want 400", far, status, answer)
		}
	}
	if _, answer := call(t, "GET", url+"/slashing/watermarks", ""); answer != "[]" {
		t.Errorf("got watermarks %s after refusals, want none", answer)
	}
	if status, answer := call(t, "POST", url+"/slashing/interchange", document("32000", "999", "1000")); status != 200 {
		t.Errorf("at the bound: got %d %s", status, answer)
	}
}

func TestConnectionsBeyondTheBoundWait(t *testing.T) {
	url := handler(t, &fake{})
	address := strings.TrimPrefix(url, "http://")
	var held []net.Conn
	for range 40 {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, conn)
	}
	client := &http.Client{Transport: &http.Transport{}, Timeout: 200 * time.Millisecond}
	if response, err := client.Get(url + "/status"); err == nil {
		response.Body.Close()
		t.Error("got an answer beside 40 idle connections")
	}
	for _, conn := range held {
		_ = conn.Close()
	}
	client.Timeout = 20 * time.Second
	response, err := client.Get(url + "/status")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
}

func TestAnIncompleteServerIsNotMade(t *testing.T) {
	if _, err := control.New(control.Config{Enclave: &fake{}}); err == nil {
		t.Error("got a server without log, logs and metrics")
	}
}

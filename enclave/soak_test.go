package main

import (
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/enclave/ethereum/bls"
	"holdfast/enclave/serve/access/accesstest"
)

// soakTime is how long the soak runs: a few seconds, or what HOLDFAST_SOAK says,
// as 60s, which make test does.
func soakTime(t *testing.T) time.Duration {
	t.Helper()
	said := os.Getenv("HOLDFAST_SOAK")
	if said == "" {
		return 8 * time.Second
	}
	d, err := time.ParseDuration(said)
	if err != nil || d < time.Second {
		t.Fatalf("HOLDFAST_SOAK: got %q, want a duration of a second or more, as 60s", said)
	}
	return d
}

const soakRoot = "0x4242424242424242424242424242424242424242424242424242424242424242"

// duties are requests of an epoch, in every form but the large ones.
var duties = []func(epoch int) string{
	func(epoch int) string {
		return forked("ATTESTATION", `"attestation":{"slot":"%d","index":"0","beacon_block_root":"%s","source":{"epoch":"%[3]d","root":"%[2]s"},"target":{"epoch":"%[4]d","root":"%[2]s"}}`,
			32*epoch, soakRoot, epoch-1, epoch)
	},
	func(epoch int) string {
		return forked("BLOCK_V2", `"beacon_block":{"version":"FULU","block_header":{"slot":"%d","proposer_index":"1","parent_root":"%s","state_root":"%[2]s","body_root":"%[2]s"}}`, 32*epoch, soakRoot)
	},
	func(epoch int) string { return forked("RANDAO_REVEAL", `"randao_reveal":{"epoch":"%d"}`, epoch) },
	func(epoch int) string {
		return forked("AGGREGATION_SLOT", `"aggregation_slot":{"slot":"%d"}`, 32*epoch)
	},
	func(epoch int) string {
		return forked("SYNC_COMMITTEE_MESSAGE", `"sync_committee_message":{"beacon_block_root":"%s","slot":"%d"}`, soakRoot, 32*epoch)
	},
	func(epoch int) string {
		return forked("SYNC_COMMITTEE_SELECTION_PROOF", `"sync_aggregator_selection_data":{"slot":"%d","subcommittee_index":"1"}`, 32*epoch)
	},
	func(epoch int) string {
		return fmt.Sprintf(`{"type":"VALIDATOR_REGISTRATION","validator_registration":{"fee_recipient":"0x%040x","gas_limit":"36000000","timestamp":"%d","pubkey":"0x%096x"}}`, 1, epoch, 1)
	},
}

func forked(kind, payload string, values ...any) string {
	return `{"type":"` + kind + `","fork_info":{"fork":{"previous_version":"0x60000910","current_version":"0x70000910","epoch":"50688"},
		"genesis_validators_root":"0x212f13fc4df078b6cb7db228f1c8307566dcecf900867401a92023d7ba99cb5f"},` + fmt.Sprintf(payload, values...) + `}`
}

// soaker is one connection with a key of its own.
type soaker struct {
	client *http.Client
	url    string
	key    bls.PublicKey
	epoch  int
	served int
}

// run asks for duty after duty, and returns at the first that is not done.
func (s *soaker) run(until time.Time) error {
	for ; time.Now().Before(until); s.epoch++ {
		for _, duty := range duties {
			if err := s.ask(duty(s.epoch)); err != nil {
				return fmt.Errorf("after %d: %w", s.served, err)
			}
			s.served++
		}
	}
	return nil
}

func (s *soaker) ask(body string) error {
	request, err := http.NewRequest("POST", s.url+"/api/v1/eth2/sign/"+s.key.String(), strings.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Accept", "application/json")
	response, err := s.client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	var answer struct{ Signature string }
	if err := json.Unmarshal(raw, &answer); err != nil || response.StatusCode != 200 || len(answer.Signature) != 2+2*96 {
		return fmt.Errorf("got %d %s for %s", response.StatusCode, raw, body)
	}
	_, err = hex.DecodeString(answer.Signature[2:])
	return err
}

// TestSoak has 64 connections ask for mixed duties, over HTTP/1.1 and HTTP/2, with
// and without TLS 1.3, and looks for an error, a lost goroutine or growing memory.
func TestSoak(t *testing.T) {
	const connections = 64
	before := runtime.NumGoroutine()
	e := startEnclave(t)
	var secrets, entries []string
	certificates := make([]tls.Certificate, 4)
	for i := range certificates {
		name := fmt.Sprintf("vc-%d", i)
		certificates[i] = accesstest.SelfSigned(t, name)
		entries = append(entries, entry(name, certificates[i], `"keys":"all"`))
	}
	for i := range connections {
		secrets = append(secrets, fmt.Sprintf("0x%064x", i+1))
	}
	keys, err := e.give(t, describeBundle(`{"name":"hoodi"}`, `"clients":[`+strings.Join(entries, ",")+`]`, bare(secrets...), ""))
	if err != nil {
		t.Fatal(err)
	}
	soakers := make([]*soaker, connections)
	for i := range soakers {
		config := &tls.Config{InsecureSkipVerify: true, Certificates: certificates[i%4 : i%4+1]}
		if i%8 == 7 {
			config.MaxVersion = tls.VersionTLS12
		}
		transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: i%2 == 0}
		defer transport.CloseIdleConnections()
		key, err := bls.ParsePublicKey(keys[i])
		if err != nil {
			t.Fatal(err)
		}
		soakers[i] = &soaker{client: &http.Client{Transport: transport, Timeout: 20 * time.Second}, url: e.url, key: key, epoch: 60000}
	}

	begun := time.Now()
	half, end := begun.Add(soakTime(t)/2), begun.Add(soakTime(t))
	all := func(until time.Time) (live uint64, goroutines int) {
		var group sync.WaitGroup
		for _, s := range soakers {
			group.Go(func() {
				if err := s.run(until); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		var memory runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&memory)
		return memory.HeapAlloc, runtime.NumGoroutine()
	}
	memory, goroutines := all(half)
	memoryAfter, goroutinesAfter := all(end)
	served := 0
	for _, s := range soakers {
		served += s.served
		s.client.CloseIdleConnections()
	}
	t.Logf("%d signatures in %v over %d connections; heap %d then %d KiB, %d then %d goroutines",
		served, time.Since(begun).Round(time.Millisecond), connections, memory>>10, memoryAfter>>10, goroutines, goroutinesAfter)
	if served < connections*len(duties) {
		t.Errorf("got %d signatures, want each duty of each connection at least", served)
	}
	if memoryAfter > memory+8<<20 {
		t.Errorf("got a heap of %d bytes, then %d", memory, memoryAfter)
	}
	if goroutinesAfter > goroutines+connections/4 {
		t.Errorf("got %d goroutines, then %d", goroutines, goroutinesAfter)
	}
	e.stop()
	for range 200 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	t.Errorf("got %d goroutines, want %d as before:\n%s", runtime.NumGoroutine(), before, stacks)
}

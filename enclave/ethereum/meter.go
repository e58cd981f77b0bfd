package ethereum

import (
	"time"

	"holdfast/enclave/ethereum/metrics"
	"holdfast/enclave/ethereum/signing"
	"holdfast/enclave/slashing"
)

// meter counts what the service does. Beside proper histograms it keeps the names
// of Web3Signer's metrics, which dashboards and alerts are made of.
type meter struct {
	registry metrics.Registry

	requests  metrics.Histogram
	records   metrics.Histogram
	signing   metrics.Summary
	database  metrics.Summary
	missing   metrics.Counter
	malformed metrics.Counter
	permitted metrics.Counter
	prevented metrics.Counter
}

// Bounds of the histograms' buckets. A signature takes half a millisecond, a
// durable record a few; a client gives up after some seconds.
var latencies = []time.Duration{
	250 * time.Microsecond, 500 * time.Microsecond, time.Millisecond, 2 * time.Millisecond,
	5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, time.Second, 5 * time.Second,
}

func newMeter(s *Service) *meter {
	m := new(meter)
	r := &m.registry
	m.requests = r.Histogram("holdfast_sign_duration_seconds",
		"Time to answer requests to sign, one a key, by message type, outcome (signed, or the reason of the refusal) and client.",
		latencies, "type", "reason", "client")
	m.records = r.Histogram("holdfast_slashing_record_duration_seconds",
		"Time to check and record slashable duties, by duty and the store's answer.", latencies, "duty", "answer")
	m.signing = r.Summary("signing_bls_signing_duration", "Time of BLS signatures alone, in seconds.")
	m.missing = r.Counter("signing_bls_missing_identifier_count", "Requests for keys that are not held.")
	r.GaugeFunc("signing_signers_loaded_count", "Keys that are held.", func() float64 { return float64(s.held()) })
	m.malformed = r.Counter("http_bls_malformed_request_count", "Requests that could not be read.")
	m.permitted = r.Counter("eth2_slashingprotection_permitted_signings", "Slashable duties that were recorded and may be signed.")
	m.prevented = r.Counter("eth2_slashingprotection_prevented_signings", "Slashable duties that were refused.")
	m.database = r.Summary("eth2_slashingprotection_database_duration", "Time to check and record slashable duties, in seconds.", "signingOperation")
	r.Process()
	return m
}

// Metrics returns the service's metrics, which Register also serves at /metrics.
// What else the server counts may be added.
func (s *Service) Metrics() *metrics.Registry { return &s.meter.registry }

func (s *Service) held() int {
	if signer := s.loaded.Load(); signer != nil {
		return len(signer.keys.current.Load().order)
	}
	return 0
}

// answered counts a request for one key. client is empty where nobody was asked
// for yet, and t where it could not be read.
func (m *meter) answered(t signing.Type, no *refusal, client string, took time.Duration) {
	reason := "signed"
	if no != nil {
		reason = no.reason
	}
	switch reason {
	case malformed:
		m.malformed.Add(1)
	case unknownKey:
		m.missing.Add(1)
	}
	if t == "" {
		t = "unknown"
	}
	m.requests.Observe(took, string(t), reason, client)
}

func (m *meter) signed(took time.Duration) { m.signing.Observe(took) }

var answers = map[slashing.Answer]string{slashing.Allowed: "allowed", slashing.Denied: "denied"}

func (m *meter) recorded(duty slashing.Duty, answer slashing.Answer, took time.Duration) {
	name := "attestation"
	if _, ok := duty.(slashing.Block); ok {
		name = "block"
	}
	outcome, ok := answers[answer]
	if !ok {
		outcome = "failed"
	}
	switch answer {
	case slashing.Allowed:
		m.permitted.Add(1)
	case slashing.Denied:
		m.prevented.Add(1)
	}
	m.database.Observe(took, name)
	m.records.Observe(took, name, outcome)
}

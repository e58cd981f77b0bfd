package ethereum_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"holdfast/enclave/ethereum"
	"holdfast/enclave/slashing"
	"holdfast/enclave/slashing/slashingtest"
)

const jsonType = "application/json; charset=utf-8"

func want(t *testing.T, service *ethereum.Service, method, path string, status int, body string) {
	t.Helper()
	w := get(service, method, path)
	if w.Code != status || w.Body.String() != body || w.Header().Get("Content-Type") != jsonType {
		t.Errorf("%s %s: got %d %q %s, want %d %s", method, path, w.Code, w.Header().Get("Content-Type"), w.Body, status, body)
	}
}

// health is Web3Signer's document.
func health(outcome, keys string, loaded int, store string) string {
	return fmt.Sprintf(`{"status":"%s","checks":[{"id":"default-check","status":"UP"},`+
		`{"id":"keys-check","status":"%s","checks":[{"id":"config-files-loading","status":"%[2]s","data":{"keys-loaded":%d,"error-count":0}}]},`+
		`{"id":"slashing-protection-db-health-check","status":"%s"}],"outcome":"%[1]s"}`, outcome, keys, loaded, store)
}

func TestHealthIsWeb3SignersDocument(t *testing.T) {
	want(t, ethereum.New(nil), "GET", "/healthcheck", 503, health("DOWN", "DOWN", 0, "DOWN"))
	want(t, loaded(t, testKey(t, 1), testKey(t, 2)), "GET", "/healthcheck", 200, health("UP", "UP", 2, "UP"))
	want(t, loaded(t), "GET", "/healthcheck", 200, health("UP", "UP", 0, "UP"))
}

// sickStore probes badly.
type sickStore struct{ *slashingtest.Memory }

func (sickStore) Probe(ctx context.Context) error {
	if _, ok := ctx.Deadline(); !ok {
		return nil // and fails the test: a probe must have an end
	}
	return errors.New("disk is full")
}

func TestAStoreThatFailsIsDown(t *testing.T) {
	service := loadedWith(t, sickStore{slashingtest.NewMemory(root(validatorsRoot))}, testKey(t, 1))
	want(t, service, "GET", "/healthcheck", 503, health("DOWN", "UP", 1, "DOWN"))
}

func TestTheHighWatermarkIsShownAndHolds(t *testing.T) {
	want(t, ethereum.New(nil), "GET", "/api/v1/eth2/highWatermark", 200, "{}")
	want(t, loaded(t), "GET", "/api/v1/eth2/highWatermark", 200, "{}")
	service := configured(t, func(c *ethereum.Config) { c.HighWatermark = &slashing.HighWatermark{Epoch: 3, Slot: 96} }, testKey(t, 1))
	want(t, service, "GET", "/api/v1/eth2/highWatermark", 200, `{"epoch":"3","slot":"96"}`)
	name := public(t, 1).String()
	for body, status := range map[string]int{block(96, "a"): 412, block(95, "a"): 200, attestation(2, 3, "a"): 412, attestation(1, 2, "a"): 200} {
		if w := post(service, name, body); w.Code != status {
			t.Errorf("%s: got %d %s, want %d", body, w.Code, w.Body, status)
		}
	}
}

const accepted = `{"status":"accepted","message":"Reload operation accepted and is running in the background. Use GET /reload to check status."}`

func TestAReloadRunsOnceInTheBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		results := make(chan error)
		service := configured(t, func(c *ethereum.Config) {
			c.Reload = func(ctx context.Context) error {
				if _, ok := ctx.Deadline(); !ok {
					t.Error("a reload has no end")
				}
				return <-results
			}
		})
		want(t, service, "GET", "/reload", 200, `{"status":"idle"}`)
		for _, c := range []struct {
			err    error
			status string
		}{
			{nil, `{"status":"completed","lastOperationTime":"2000-01-01T00:00:00Z"}`},
			{errors.New("no bundle"), `{"status":"failed","lastOperationTime":"2000-01-01T00:00:00Z","lastError":"no bundle"}`},
			{fmt.Errorf("%w: certificate: expired", ethereum.ErrPartly),
				`{"status":"completed_with_errors","lastOperationTime":"2000-01-01T00:00:00Z","lastError":"reloaded in part: certificate: expired"}`},
		} {
			want(t, service, "POST", "/reload", 202, accepted)
			want(t, service, "POST", "/reload", 409, `{"status":"error","message":"A reload operation is already in progress. Please try again later."}`)
			if w := get(service, "GET", "/reload"); !strings.HasPrefix(w.Body.String(), `{"status":"running"`) {
				t.Errorf("got %s, want it running", w.Body)
			}
			results <- c.err
			synctest.Wait()
			want(t, service, "GET", "/reload", 200, c.status)
		}
	})
}

func TestAReloadOfNothingCompletesAtOnce(t *testing.T) {
	for _, service := range []*ethereum.Service{ethereum.New(nil), loaded(t)} {
		want(t, service, "POST", "/reload", 202, accepted)
		if w := get(service, "GET", "/reload"); !strings.Contains(w.Body.String(), `"status":"completed"`) {
			t.Errorf("got %s, want it completed", w.Body)
		}
	}
}

func TestMetricsHaveWeb3SignersNamesAndTellTypeReasonAndClient(t *testing.T) {
	service := loaded(t, testKey(t, 1))
	name := public(t, 1).String()
	post(service, name, block(5, "a"))
	post(service, name, block(5, "b"))
	post(service, name, attestation(0, 1, "a"))
	post(service, name, "{")
	post(service, name, exit(3))
	post(service, public(t, 2).String(), block(5, "a"))
	w := get(service, "GET", "/metrics")
	for _, line := range []string{
		"signing_bls_signing_duration_count 2",
		`signing_bls_signing_duration{quantile="0.99"} `,
		"signing_bls_missing_identifier_count_total 1",
		"signing_signers_loaded_count 1",
		"http_bls_malformed_request_count_total 1",
		"eth2_slashingprotection_permitted_signings_total 2",
		"eth2_slashingprotection_prevented_signings_total 1",
		`eth2_slashingprotection_database_duration_count{signingOperation="block"} 2`,
		`eth2_slashingprotection_database_duration_count{signingOperation="attestation"} 1`,
		`process_release{version="`,
		`holdfast_sign_duration_seconds_count{type="BLOCK_V2",reason="signed",client="any"} 1`,
		`holdfast_sign_duration_seconds_count{type="BLOCK_V2",reason="double_block",client="any"} 1`,
		`holdfast_sign_duration_seconds_count{type="BLOCK_V2",reason="unknown_key",client="any"} 1`,
		`holdfast_sign_duration_seconds_count{type="VOLUNTARY_EXIT",reason="policy_type",client="any"} 1`,
		`holdfast_sign_duration_seconds_count{type="unknown",reason="malformed",client="any"} 1`,
		`holdfast_sign_duration_seconds_bucket{type="ATTESTATION",reason="signed",client="any",le="+Inf"} 1`,
		`holdfast_slashing_record_duration_seconds_count{duty="block",answer="denied"} 1`,
	} {
		if !strings.Contains(w.Body.String(), "\n"+line) {
			t.Errorf("%s is missing", line)
		}
	}
	if w.Code != 200 || w.Header().Get("Content-Type") != "text/plain; version=0.0.4; charset=utf-8" || strings.Contains(w.Body.String(), name[2:]) {
		t.Errorf("got %d %q, and no key may be named\n%s", w.Code, w.Header().Get("Content-Type"), w.Body)
	}
	if w := get(service, "GET", "/metrics", "application/openmetrics-text"); !strings.HasSuffix(w.Body.String(), "# EOF\n") {
		t.Error("OpenMetrics was asked for and not given")
	}
}

func TestAFailedStoreIsCountedAsSuch(t *testing.T) {
	service := loadedWith(t, storeFunc(func() slashing.Decision { return slashing.Fail(errors.New("disk is full")) }), testKey(t, 1))
	wantError(t, post(service, public(t, 1).String(), block(5, "a")), http.StatusInternalServerError)
	for _, line := range []string{`duty="block",answer="failed"} 1`, `reason="slashing_store_failed",client="any"} 1`, "prevented_signings_total 0"} {
		if w := get(service, "GET", "/metrics"); !strings.Contains(w.Body.String(), line) {
			t.Errorf("%s is missing", line)
		}
	}
}

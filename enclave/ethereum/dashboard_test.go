package ethereum_test

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// panels is what the panels of Grafana dashboard 13687 ask for: the names and labels in its queries, read from the
// file dashboard/web3signer-eth2-dashboard-grafana.json of Consensys/web3signer as of 2026-04-23 (commit
// 982162889), where counters have the suffix _total; each is the beginning of a line. The labels instance and job are Prometheus's own.
var panels = []string{
	`process_release{version="`,
	"signing_signers_loaded_count ",
	"http_bls_malformed_request_count_total ",
	"eth2_slashingprotection_prevented_signings_total ",
	"signing_bls_missing_identifier_count_total ",
	`signing_bls_signing_duration{quantile="0.5"} `,
	`signing_bls_signing_duration{quantile="0.95"} `,
	`signing_bls_signing_duration{quantile="0.99"} `,
	"signing_bls_signing_duration_count ",
	`eth2_slashingprotection_database_duration{signingOperation="attestation",quantile="0.5"} `,
	`eth2_slashingprotection_database_duration{signingOperation="attestation",quantile="0.95"} `,
	`eth2_slashingprotection_database_duration{signingOperation="attestation",quantile="0.99"} `,
	`eth2_slashingprotection_database_duration{signingOperation="block",quantile="0.5"} `,
	`eth2_slashingprotection_database_duration{signingOperation="block",quantile="0.95"} `,
	`eth2_slashingprotection_database_duration{signingOperation="block",quantile="0.99"} `,
	"process_cpu_seconds_total ",
	"process_resident_memory_bytes ",
}

// javas are what other panels ask for: there is no Java here, and no Vert.x, so those stay empty.
var javas = []string{"http_vertx_worker_pool_usage", "http_vertx_worker_pool_rejected_total", "jvm_gc_collection_seconds_sum",
	"jvm_memory_max_bytes", "jvm_memory_used_bytes", "jvm_threads_state"}

func TestEveryPanelOfTheDashboardThatIsNotOfJavaHasItsMetric(t *testing.T) {
	service := loaded(t, testKey(t, 1))
	post(service, public(t, 1).String(), block(5, "a"))
	post(service, public(t, 1).String(), attestation(0, 1, "a"))
	for format, accept := range map[string][]string{"text": nil, "OpenMetrics": {"application/openmetrics-text"}} {
		lines := strings.Split(get(service, "GET", "/metrics", accept...).Body.String(), "\n")
		for _, series := range panels {
			if !slices.ContainsFunc(lines, func(line string) bool { return strings.HasPrefix(line, series) }) {
				t.Errorf("%s: %sis missing", format, series)
			}
		}
	}
}

func TestThePanelsThatStayEmptyAreSaidToBeSo(t *testing.T) {
	service := loaded(t, testKey(t, 1))
	limitations, err := os.ReadFile("../../docs/limitations.md")
	if err != nil {
		t.Fatal(err)
	}
	served := get(service, "GET", "/metrics").Body.String()
	for _, name := range javas {
		if !strings.Contains(string(limitations), "`"+name+"`") {
			t.Errorf("the limitations do not name %s", name)
		}
		if strings.Contains(served, name) {
			t.Errorf("%s is served", name)
		}
	}
}

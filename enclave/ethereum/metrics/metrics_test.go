package metrics_test

import (
	"bytes"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/enclave/ethereum/metrics"
)

func write(t *testing.T, r *metrics.Registry, open bool) string {
	t.Helper()
	var out bytes.Buffer
	if err := r.Write(&out, open); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func sample(r *metrics.Registry) {
	c := r.Counter("requests", "Requests\nof \\all\\ kinds.", "path")
	c.Add(2, `/a"b\`+"\n")
	c.Add(1, "/b")
	c.Add(3, "/b")
	r.Counter("errors", "Errors.")
	r.GaugeFunc("temperature", "Of the room.", func() float64 { return -1.5 })
	r.Info("release", "This one.", "version", "v1")
	h := r.Histogram("wait_seconds", "Waiting.", []time.Duration{time.Millisecond, time.Second}, "type")
	for _, d := range []time.Duration{time.Millisecond, time.Millisecond + 1, time.Second, 2 * time.Second} {
		h.Observe(d, "x")
	}
	s := r.Summary("work", "Working.")
	for n := range 101 {
		s.Observe(time.Duration(100-n) * time.Second)
	}
}

func TestTheTextFormatIsWritten(t *testing.T) {
	var r metrics.Registry
	sample(&r)
	want := `# HELP requests_total Requests\nof \\all\\ kinds.
# TYPE requests_total counter
requests_total{path="/a\"b\\\n"} 2
requests_total{path="/b"} 4
# HELP errors_total Errors.
# TYPE errors_total counter
errors_total 0
# HELP temperature Of the room.
# TYPE temperature gauge
temperature -1.5
# HELP release This one.
# TYPE release gauge
release{version="v1"} 1
# HELP wait_seconds Waiting.
# TYPE wait_seconds histogram
wait_seconds_bucket{type="x",le="0.001"} 1
wait_seconds_bucket{type="x",le="1"} 3
wait_seconds_bucket{type="x",le="+Inf"} 4
wait_seconds_sum{type="x"} 3.002000001
wait_seconds_count{type="x"} 4
# HELP work Working.
# TYPE work summary
work{quantile="0.2"} 20
work{quantile="0.5"} 50
work{quantile="0.8"} 80
work{quantile="0.95"} 95
work{quantile="0.99"} 99
work{quantile="1"} 100
work_sum 5050
work_count 101
`
	if got := write(t, &r, false); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestOpenMetricsNamesCountersWithoutSuffixAndEnds(t *testing.T) {
	var r metrics.Registry
	sample(&r)
	got := write(t, &r, true)
	for _, want := range []string{"# TYPE requests counter\n", `requests_total{path="/b"} 4`, "# HELP errors Errors.\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
	if !strings.HasSuffix(got, "\n# EOF\n") {
		t.Errorf("got an end of %q", got[len(got)-20:])
	}
}

func TestASummaryForgetsTheOldest(t *testing.T) {
	var r metrics.Registry
	s := r.Summary("work", "Working.")
	s.Observe(time.Hour)
	for range 1024 {
		s.Observe(time.Second)
	}
	got := write(t, &r, false)
	if !strings.Contains(got, `work{quantile="1"} 1`+"\n") || !strings.Contains(got, "work_count 1025\n") || !strings.Contains(got, "work_sum 4624\n") {
		t.Errorf("got\n%s", got)
	}
}

func TestSeriesAreBounded(t *testing.T) {
	var r metrics.Registry
	c := r.Counter("requests", "Requests.", "client", "type")
	for n := range 10000 {
		c.Add(1, fmt.Sprint(n), "x")
	}
	got := write(t, &r, false)
	if lines := strings.Count(got, "requests_total{"); lines != 2049 {
		t.Errorf("got %d series, want 2049", lines)
	}
	if !strings.Contains(got, fmt.Sprintf(`requests_total{client="other",type="other"} %d`, 10000-2048)) {
		t.Error("the rest is not counted as other")
	}
}

func TestCountsAreNotLost(t *testing.T) {
	var r metrics.Registry
	c, h := r.Counter("n", "N.", "l"), r.Histogram("h", "H.", []time.Duration{time.Second}, "l")
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 1000 {
				c.Add(1, "x")
				h.Observe(time.Millisecond, "x")
			}
		})
	}
	write(t, &r, false)
	group.Wait()
	got := write(t, &r, false)
	for _, want := range []string{`n_total{l="x"} 8000`, `h_count{l="x"} 8000`, `h_sum{l="x"} 8` + "\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is missing in\n%s", want, got)
		}
	}
}

func TestAcceptChoosesTheFormat(t *testing.T) {
	var r metrics.Registry
	r.Process()
	for accept, open := range map[string]bool{
		"": false, "*/*": false, "text/plain;version=0.0.4": false,
		"application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1": true,
	} {
		request := httptest.NewRequest("GET", "/metrics", nil)
		if accept != "" {
			request.Header.Set("Accept", accept)
		}
		w := httptest.NewRecorder()
		r.ServeHTTP(w, request)
		if got := strings.HasPrefix(w.Header().Get("Content-Type"), "application/openmetrics-text; version=1.0.0"); got != open || w.Code != 200 {
			t.Errorf("%q: got %d %q", accept, w.Code, w.Header().Get("Content-Type"))
		}
	}
}

func TestTheProcessTellsOfItself(t *testing.T) {
	var r metrics.Registry
	r.Process()
	got := write(t, &r, false)
	for _, name := range []string{"process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds", "process_start_time_seconds", "go_goroutines", "go_memory_heap_objects_bytes"} {
		if strings.Contains(got, "\n"+name+" 0\n") || !strings.Contains(got, "\n"+name+" ") {
			t.Errorf("%s is missing or zero in\n%s", name, got)
		}
	}
	if !strings.Contains(got, `process_release{version="`) {
		t.Errorf("no release in\n%s", got)
	}
}

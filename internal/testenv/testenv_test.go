package testenv_test

import (
	"fmt"
	"strings"
	"testing"

	"holdfast/internal/testenv"
)

// A recorder takes the place of a test and notes how it was ended.
type recorder struct {
	testing.TB
	ended string
}

func (r *recorder) Helper() {}

func (r *recorder) Fatalf(format string, args ...any) {
	r.ended = "failed: " + fmt.Sprintf(format, args...)
}

func (r *recorder) Skipf(format string, args ...any) {
	r.ended = "skipped: " + fmt.Sprintf(format, args...)
}

func TestAnAbsentVariableSkipsAtHomeAndFailsInCI(t *testing.T) {
	for name, c := range map[string]struct{ value, ci, want string }{
		"named":       {"/somewhere", "", ""},
		"named in CI": {"/somewhere", "true", ""},
		"absent":      {"", "", "skipped: HOLDFAST_EIF is not set: run `make test`"},
		"absent, CI":  {"", "true", "failed: HOLDFAST_EIF is not set"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("HOLDFAST_EIF", c.value)
			t.Setenv("CI", c.ci)
			r := &recorder{TB: t}
			if value := testenv.Need(r, "HOLDFAST_EIF"); value != c.value {
				t.Errorf("value = %q, want %q", value, c.value)
			}
			if !strings.HasPrefix(r.ended, c.want) || c.want == "" && r.ended != "" {
				t.Errorf("the test %s, want %q", r.ended, c.want)
			}
		})
	}
}

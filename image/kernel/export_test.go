package kernel

// For the tests of what the package does inside.
var (
	ParseConfig  = parseConfig
	CheckGranted = checkGranted
	CheckSame    = checkSame
	CheckImage   = checkImage
	Fragment     = fragment
	Patches      = patches
)

const (
	MaxConfig = maxConfig
	MaxImage  = maxImage
	Timestamp = timestamp
)

// Rule is one row of the invariants.
type Rule struct{ Option, Value, Reason string }

// Rules returns all of the invariants.
func Rules() []Rule {
	var rules []Rule
	for _, part := range invariants {
		for _, r := range part {
			rules = append(rules, Rule{r.option, r.value, r.reason})
		}
	}
	return rules
}

// Resolved returns the reviewed configuration.
func Resolved() []byte { return mustRead(resolved) }

// Patch returns an embedded patch.
func Patch(name string) []byte { return mustRead(name) }

// Tail returns what a build's error would carry of an output written in these pieces.
func Tail(pieces ...string) string {
	var t tail
	for _, p := range pieces {
		t.Write([]byte(p))
	}
	return t.String()
}

// Steps counts the steps in an output written in these pieces.
func Steps(pieces ...string) int64 {
	steps := int64(0)
	c := counter{update: func(n int64) { steps = n }}
	for _, p := range pieces {
		c.Write([]byte(p))
	}
	return steps
}

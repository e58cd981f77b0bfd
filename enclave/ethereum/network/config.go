package network

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Genesis is what a config.yaml does not say of a network: when it began and with
// which validators. A beacon node tells both at /eth/v1/beacon/genesis.
type Genesis struct {
	Time           uint64 // seconds since 1970
	ValidatorsRoot [32]byte
}

// Bounds on a config.yaml. Published ones are some 10 kB in 250 lines.
const (
	maxConfigSize = 1 << 17
	maxConfigKeys = 1 << 10
)

// ParseConfig reads a network's config.yaml as consensus-specs publishes it
// (configs/mainnet.yaml): a flat list of KEY: value lines. Keys that signing does
// not depend on are ignored, and so are nested values. The keys that it does
// depend on must be there, once: PRESET_BASE, CONFIG_NAME, GENESIS_FORK_VERSION,
// the version and epoch of every fork to Deneb, and SECONDS_PER_SLOT or
// SLOT_DURATION_MS. Later forks may be missing and are then not scheduled; a
// scheduled fork that this version does not know is an error, since it may change
// what is signed.
func ParseConfig(data []byte, genesis Genesis) (Network, error) {
	if len(data) > maxConfigSize {
		return Network{}, fmt.Errorf("network configuration has %d bytes, limit %d", len(data), maxConfigSize)
	}
	values, err := readFlatYAML(string(data))
	if err != nil {
		return Network{}, fmt.Errorf("network configuration: %w", err)
	}
	c := config{values: values}
	n := c.network(genesis)
	if c.err != nil {
		return Network{}, fmt.Errorf("network configuration: %w", c.err)
	}
	if err := n.Validate(); err != nil {
		return Network{}, fmt.Errorf("network configuration: %w", err)
	}
	return n, nil
}

// readFlatYAML returns the scalars at the top level of a YAML mapping. It knows
// comments, quotes and nothing else; indented lines and list items belong to
// nested values and are passed over.
func readFlatYAML(text string) (map[string]string, error) {
	values := make(map[string]string)
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSuffix(line, "\r")
		if line == "" || line == "---" && len(values) == 0 || strings.ContainsAny(line[:1], " #-") && line != "---" {
			continue
		}
		key, value, err := splitLine(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		if _, twice := values[key]; twice {
			return nil, fmt.Errorf("line %d: %s comes twice", i+1, key)
		}
		if values[key] = value; len(values) > maxConfigKeys {
			return nil, fmt.Errorf("more than %d keys", maxConfigKeys)
		}
	}
	return values, nil
}

func splitLine(line string) (key, value string, err error) {
	key, rest, found := strings.Cut(line, ":")
	if !found || key == "" || strings.Trim(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != "" {
		return "", "", fmt.Errorf("got %.40q, want KEY: value", line)
	}
	if rest != "" && rest[0] != ' ' && rest[0] != '\t' {
		return "", "", fmt.Errorf("got %.40q, want a space after the colon", line)
	}
	value, err = scalar(strings.Trim(rest, " \t"))
	return key, value, err
}

// scalar strips quotes or a comment from a value.
func scalar(s string) (string, error) {
	if s == "" || s[0] == '#' {
		return "", nil
	}
	if s[0] == '\'' || s[0] == '"' {
		value, rest, closed := strings.Cut(s[1:], s[:1])
		rest = strings.TrimLeft(rest, " \t")
		if !closed || strings.Contains(value, `\`) || rest != "" && rest[0] != '#' {
			return "", fmt.Errorf("got %.40q, want a plain quoted value", s)
		}
		return value, nil
	}
	if strings.ContainsAny(s[:1], "|>{&*!%@`") {
		return "", fmt.Errorf("got %.40q, want a plain value", s)
	}
	value, _, _ := strings.Cut(s, " #")
	return strings.TrimRight(value, " \t"), nil
}

// config interprets values and keeps the first error.
type config struct {
	values map[string]string
	err    error
}

func (c *config) fail(key, format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...))
	}
}

func (c *config) text(key string) string {
	value, ok := c.values[key]
	if !ok || value == "" {
		c.fail(key, "missing")
	}
	return value
}

func (c *config) number(key string) uint64 {
	value := c.text(key)
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil {
		c.fail(key, "got %.40q, want a decimal integer", value)
	}
	return n
}

func (c *config) version(key string) (version Version) {
	value := c.text(key)
	digits, ok := strings.CutPrefix(value, "0x")
	if ok && len(digits) == 2*len(version) {
		_, err := hex.Decode(version[:], []byte(digits))
		ok = err == nil
	} else {
		ok = false
	}
	if !ok {
		c.fail(key, "got %.40q, want 0x and 8 hex digits", value)
	}
	return version
}

func (c *config) network(genesis Genesis) Network {
	p := c.preset()
	return Network{
		Name:                  c.text("CONFIG_NAME"),
		GenesisTime:           genesis.Time,
		GenesisValidatorsRoot: genesis.ValidatorsRoot,
		SecondsPerSlot:        c.secondsPerSlot(),
		SlotsPerEpoch:         p.slotsPerEpoch,
		SyncCommitteeSize:     p.syncCommitteeSize,
		MaxCommitteesPerSlot:  p.maxCommitteesPerSlot,
		Forks:                 c.schedule(),
	}
}

// preset returns the named preset, with the values that the file itself spells
// out, as some devnets' do.
func (c *config) preset() preset {
	presets := map[string]preset{"mainnet": mainnetPreset, "minimal": minimalPreset, "gnosis": gnosisPreset}
	name := c.text("PRESET_BASE")
	p, ok := presets[name]
	if !ok {
		c.fail("PRESET_BASE", "got %.40q, want mainnet, minimal or gnosis", name)
	}
	for key, value := range map[string]*uint64{
		"SLOTS_PER_EPOCH":         &p.slotsPerEpoch,
		"SYNC_COMMITTEE_SIZE":     &p.syncCommitteeSize,
		"MAX_COMMITTEES_PER_SLOT": &p.maxCommitteesPerSlot,
	} {
		if _, ok := c.values[key]; ok {
			*value = c.number(key)
		}
	}
	return p
}

// secondsPerSlot reads either spelling of the slot's length, or both if they agree.
func (c *config) secondsPerSlot() uint64 {
	milliseconds, inMilliseconds := c.values["SLOT_DURATION_MS"]
	if !inMilliseconds {
		return c.number("SECONDS_PER_SLOT")
	}
	n := c.number("SLOT_DURATION_MS")
	if n%1000 != 0 {
		c.fail("SLOT_DURATION_MS", "got %s, want whole seconds", milliseconds)
	}
	if _, inSeconds := c.values["SECONDS_PER_SLOT"]; inSeconds && c.number("SECONDS_PER_SLOT") != n/1000 {
		c.fail("SLOT_DURATION_MS", "got %s, but SECONDS_PER_SLOT is %s", milliseconds, c.values["SECONDS_PER_SLOT"])
	}
	return n / 1000
}

const epochSuffix = "_FORK_EPOCH"

func (c *config) schedule() Schedule {
	s := unscheduled()
	s[Phase0] = Activation{Version: c.version("GENESIS_FORK_VERSION")}
	for f := Altair; f < forkCount; f++ {
		_, hasVersion := c.values[f.String()+"_FORK_VERSION"]
		_, hasEpoch := c.values[f.String()+epochSuffix]
		if f > Deneb && !hasVersion && !hasEpoch {
			continue
		}
		s[f] = Activation{Version: c.version(f.String() + "_FORK_VERSION"), Epoch: c.number(f.String() + epochSuffix)}
	}
	c.refuseUnknownForks()
	return s
}

func (c *config) refuseUnknownForks() {
	far := strconv.FormatUint(FarFuture, 10)
	for key, value := range c.values {
		name, isFork := strings.CutSuffix(key, epochSuffix)
		if isFork && value != far && !slices.Contains(forkNames[:], name) {
			c.fail(key, "got %.40q, but this version does not know the fork", value)
		}
	}
}

// Package devnet runs a real proof-of-stake chain on loopback: geth for execution, Prysm's beacon node and
// validator client for consensus, with slots short enough for a test. The validators' keys are given to
// nothing but the signer under test.
//
// 'make test' builds the peers from the exact versions that peers/go.mod requires, and names them in the
// environment. They run beside the tests; nothing of them is imported, copied or shipped.
package devnet

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"holdfast/internal/testenv"
)

// Variable names the directory of the peers' programs in the environment, set by 'bin/image env'.
const Variable = "HOLDFAST_DEVNET_DIR"

// genesisDelay is what the nodes get to start before the first slot. Where they take longer, the first slots
// stay empty.
const genesisDelay = 15 * time.Second

// A chain is a running network of one beacon node, one execution client and at most one validator client.
type chain struct {
	dir        string // everything that the peers write
	programs   string
	validators int
	genesis    genesis
	beacon     beacon
	provider   string // the beacon node's gRPC address, for the validator client
	running    []*process
}

// A genesis is what the chain's first state says of it.
type genesis struct {
	time           time.Time
	validatorsRoot [32]byte
}

// start makes a new chain whose genesis is near, and starts its nodes. They end with the test.
func start(t testing.TB, validators int) *chain {
	t.Helper()
	c := &chain{dir: t.TempDir(), programs: testenv.Need(t, Variable), validators: validators}
	c.write(t, "config.yml", chainConfig)
	c.write(t, "geth.toml", gethConfig)
	var secret [32]byte
	rand.Read(secret[:])
	c.write(t, "jwt.hex", hex.EncodeToString(secret[:]))

	run(t, c.command("prysmctl", "testnet", "generate-genesis", "--fork=bellatrix",
		fmt.Sprintf("--num-validators=%d", validators),
		fmt.Sprintf("--genesis-time-delay=%d", int(genesisDelay.Seconds())),
		"--chain-config-file="+c.path("config.yml"),
		"--geth-genesis-json-out="+c.path("genesis.json"),
		"--output-ssz="+c.path("genesis.ssz")))
	c.readGenesis(t)
	engine := freeAddress(t)
	c.startGeth(t, engine)
	c.startBeacon(t, engine)
	return c
}

func (c *chain) path(name string) string { return filepath.Join(c.dir, name) }

func (c *chain) write(t testing.TB, name, content string) {
	t.Helper()
	if err := os.WriteFile(c.path(name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// readGenesis reads the first two fields of a BeaconState (consensus-specs, phase0/beacon-chain.md).
func (c *chain) readGenesis(t testing.TB) {
	t.Helper()
	state, err := os.ReadFile(c.path("genesis.ssz"))
	if err != nil {
		t.Fatal(err)
	}
	if len(state) < 40 {
		t.Fatalf("the genesis state has %d bytes", len(state))
	}
	c.genesis.time = time.Unix(int64(binary.LittleEndian.Uint64(state)), 0)
	copy(c.genesis.validatorsRoot[:], state[8:])
}

// gethConfig keeps geth from listening for peers at all: its flags can choose the port only.
const gethConfig = `[Node.P2P]
ListenAddr = ""
NoDiscovery = true
MaxPeers = 0
`

func (c *chain) startGeth(t testing.TB, engine string) {
	host, port := split(t, engine)
	run(t, c.command("geth", "init", "--datadir="+c.path("geth"), c.path("genesis.json")))
	c.running = append(c.running, launch(t, c.command("geth", "--config="+c.path("geth.toml"), "--datadir="+c.path("geth"),
		"--authrpc.addr="+host, "--authrpc.port="+port, "--authrpc.jwtsecret="+c.path("jwt.hex"),
		"--syncmode=full", "--ipcdisable", "--nat=none", "--cache=64")))
}

// feeRecipient takes the fees, of which there are none.
const feeRecipient = "--suggested-fee-recipient=0x00000000000000000000000000000000000000fe"

func (c *chain) startBeacon(t testing.TB, engine string) {
	var http string
	c.provider, http = freeAddress(t), freeAddress(t)
	c.beacon = beacon{"http://" + http}
	host, rpcPort := split(t, c.provider)
	_, httpPort := split(t, http)
	_, tcpPort := split(t, freeAddress(t))
	_, quicPort := split(t, freeAddress(t))
	c.running = append(c.running, launch(t, c.command("beacon-chain", "--datadir="+c.path("beacon"),
		"--accept-terms-of-use", "--chain-config-file="+c.path("config.yml"), "--genesis-state="+c.path("genesis.ssz"),
		"--chain-id="+chainID, "--contract-deployment-block=0", "--interop-eth1data-votes", "--bootstrap-node=",
		"--execution-endpoint=http://"+engine, "--jwt-secret="+c.path("jwt.hex"), feeRecipient,
		"--rpc-host="+host, "--rpc-port="+rpcPort, "--http-host="+host, "--http-port="+httpPort,
		"--no-discovery", "--min-sync-peers=0", "--minimum-peers-per-subnet=0", "--disable-monitoring",
		"--p2p-host-ip="+host, "--p2p-local-ip="+host, "--p2p-tcp-port="+tcpPort, "--p2p-quic-port="+quicPort)))
}

// validate starts a validator client that has the addresses of a beacon node and of a signer, trusts the
// signer's certificate and no other, and has no key. Stopping it is the caller's, or else the test's end.
func (c *chain) validate(t testing.TB, signer string, certificate []byte) *process {
	t.Helper()
	c.write(t, "signer.pem", string(certificate))
	cmd := c.command("validator", "--datadir="+c.path("validator"), "--accept-terms-of-use",
		"--chain-config-file="+c.path("config.yml"), "--beacon-rpc-provider="+c.provider, "--disable-monitoring", feeRecipient,
		"--validators-external-signer-url="+signer, "--validators-external-signer-public-keys="+signer+"/api/v1/eth2/publicKeys")
	cmd.Env = append(cmd.Env, "SSL_CERT_FILE="+c.path("signer.pem"), "SSL_CERT_DIR="+c.path("no-certificates"))
	return launch(t, cmd)
}

// freeAddress returns a loopback address that nobody listens on at the moment.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func split(t testing.TB, address string) (host, port string) {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return host, port
}

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"time"

	"holdfast/enclave/ethereum/bls"
	"holdfast/enclave/ethereum/network"
	"holdfast/enclave/secret"
	"holdfast/keys/deposit"
	"holdfast/keys/holder"
	"holdfast/keys/mnemonic"
)

const generateHelp = `usage: keys generate --count N --withdrawal ADDRESS [flags]

Makes validators' keys from a new mnemonic of 24 words (BIP-39, EIP-2333), adds them
to the folder, and writes their deposit data as the staking deposit CLI does, for
the launchpad. The mnemonic is shown once, on the terminal only, asked back, and
kept nowhere: whoever has it has the keys, and without it they cannot be made again.

What is staked, and its rewards, can be withdrawn to ADDRESS only. That cannot be
changed later, so look at it twice.

flags:
  --count N                how many keys, 1 to 1000 (default 1)
  --withdrawal ADDRESS     an address of the execution layer that you control;
                           capitals in it are checked (EIP-55)
  --compounding            keep rewards staked, up to 2048 ether (0x02 credentials)
  --amount ETHER           of each deposit (default 32)
  --deposits FILE          where the deposit data goes (default deposit_data-TIME.json)
  --mnemonic-file FILE     write the new mnemonic there, 0600, rather than show it
  --mnemonic-from FILE     derive further keys from a mnemonic that you have ...
  --start N                ... beginning with this index
` + folderHelp + `
examples:
  keys generate --count 10 --withdrawal 0xYourAddress
  keys generate --count 5 --withdrawal 0xYourAddress --mnemonic-from words --start 10
`

// maxCount bounds the keys of one call.
const maxCount = 1000

// generation is what the flags of "keys generate" say.
type generation struct {
	*flags

	count                        int
	start                        uint64
	withdrawal, amount, deposits string
	mnemonicFile, mnemonicFrom   string
	compounding                  bool
	credentials                  deposit.Credentials
	gwei                         deposit.Gwei
	to                           deposit.Address
}

func newGeneration() *generation {
	g := &generation{flags: newFolderFlags("generate", generateHelp)}
	g.IntVar(&g.count, "count", 1, "")
	g.StringVar(&g.withdrawal, "withdrawal", "", "")
	g.BoolVar(&g.compounding, "compounding", false, "")
	g.StringVar(&g.amount, "amount", "32", "")
	g.StringVar(&g.deposits, "deposits", "", "")
	g.StringVar(&g.mnemonicFile, "mnemonic-file", "", "")
	g.StringVar(&g.mnemonicFrom, "mnemonic-from", "", "")
	g.Uint64Var(&g.start, "start", 0, "")
	return g
}

func (g *generation) check(now time.Time) (err error) {
	switch {
	case g.withdrawal == "":
		return usageError("want --withdrawal: the address that stakes are withdrawn to. There is no default, and it cannot be changed later")
	case g.count < 1 || g.count > maxCount:
		return usageError("--count %d: want 1 to %d", g.count, maxCount)
	case g.mnemonicFile != "" && g.mnemonicFrom != "":
		return usageError("--mnemonic-file is of a new mnemonic, and --mnemonic-from of one that you have")
	case (g.mnemonicFrom != "") != g.given("start"):
		return usageError("--mnemonic-from and --start go together: the index after the last key that was derived")
	case g.start > mnemonic.MaxIndex-maxCount:
		return usageError("--start %d: want at most %d", g.start, mnemonic.MaxIndex-maxCount)
	}
	if g.to, err = deposit.ParseAddress(g.withdrawal); err != nil {
		return usageError("--withdrawal: %v", err)
	}
	if g.gwei, err = deposit.ParseEther(g.amount, g.compounding); err != nil {
		return usageError("--amount: %v", err)
	}
	g.credentials = deposit.Withdrawal(g.to, g.compounding)
	if g.deposits == "" {
		g.deposits = fmt.Sprintf("deposit_data-%d.json", now.Unix())
	}
	for _, name := range []string{g.deposits, g.mnemonicFile} {
		if _, err := os.Lstat(name); name != "" && err == nil {
			return fmt.Errorf("%s exists, and is not overwritten", name)
		}
	}
	return nil
}

func runGenerate(ctx context.Context, t *terminal, args []string) error {
	g := newGeneration()
	if _, err := g.parse(t, args, 0, 0); err != nil {
		return err
	}
	if err := g.check(time.Now()); err != nil {
		return err
	}
	return g.withSecrets(ctx, t, func(folder *holder.Folder, secrets *holder.Secrets) error {
		if len(secrets.Validators)+g.count > holder.MaxValidators {
			return fmt.Errorf("the folder would have %d keys, and a bundle holds %d", len(secrets.Validators)+g.count, holder.MaxValidators)
		}
		_, settings, _, err := readConfiguration(folder)
		if err != nil {
			return err
		}
		m, err := g.mnemonic(ctx, t)
		if err != nil {
			return err
		}
		defer m.Wipe()
		deposits, err := g.derive(ctx, t, m, &settings.Network, secrets)
		if err != nil {
			return err
		}
		return g.store(t, folder, secrets, deposits)
	})
}

// mnemonic reads the mnemonic, or makes one and sees to it that its owner has it.
func (g *generation) mnemonic(ctx context.Context, t *terminal) (mnemonic.Mnemonic, error) {
	if g.mnemonicFrom != "" {
		text, err := holder.ReadFile(g.mnemonicFrom, mnemonic.MaxSize)
		defer clear(text)
		if err != nil {
			return mnemonic.Mnemonic{}, err
		}
		m, err := mnemonic.Parse(text)
		if err != nil {
			return mnemonic.Mnemonic{}, fmt.Errorf("%s: %w", g.mnemonicFrom, err)
		}
		return m, nil
	}
	m, err := mnemonic.New()
	if err != nil {
		return mnemonic.Mnemonic{}, err
	}
	if err := g.handOver(ctx, t, m); err != nil {
		m.Wipe()
		return mnemonic.Mnemonic{}, err
	}
	return m, nil
}

// handOver gives a new mnemonic to its owner.
func (g *generation) handOver(ctx context.Context, t *terminal, m mnemonic.Mnemonic) error {
	if g.mnemonicFile != "" {
		text := append(bytes.Clone(m.Text().Reveal()), '\n')
		defer clear(text)
		return holder.CreateFile(g.mnemonicFile, text, 0o600)
	}
	c, err := t.console()
	if err != nil {
		return &failure{exitUsage, fmt.Errorf("the mnemonic is shown on a terminal only: %w", err), []string{"--mnemonic-file writes it to a file"}}
	}
	defer c.Close()
	return showMnemonic(ctx, c, m)
}

// checkedWords is how many words of a mnemonic are asked back, and attempts how
// often.
const (
	checkedWords = 3
	attempts     = 3
)

// showMnemonic shows a mnemonic, forgets it from the screen, and asks for some of
// its words.
func showMnemonic(ctx context.Context, c console, m mnemonic.Mnemonic) error {
	page := []byte("Write these words down, on paper. They are not shown again and kept nowhere.\n\n")
	for i := range m.Len() {
		page = fmt.Appendf(page, "%4d. %-10s", i+1, m.Word(i))
		if i%4 == 3 {
			page = append(page, '\n')
		}
	}
	defer clear(page)
	if err := c.Show(page); err != nil {
		return err
	}
	defer c.Clear()
	if _, err := c.Ask(ctx, "\nPress Enter when they are written down. ", false); err != nil {
		return err
	}
	c.Clear()
	for range attempts {
		right, err := askBack(ctx, c, m)
		if err != nil || right {
			return err
		}
		if err := c.Show([]byte("That is not what was shown. Look at what you wrote.\n")); err != nil {
			return err
		}
	}
	return errors.New("the mnemonic was not confirmed: no key was made")
}

// askBack asks for words by their numbers and reports whether they were right.
func askBack(ctx context.Context, c console, m mnemonic.Mnemonic) (bool, error) {
	numbers, err := pick(checkedWords, m.Len())
	if err != nil {
		return false, err
	}
	right := true
	for _, i := range numbers {
		word, err := c.Ask(ctx, fmt.Sprintf("Word %d: ", i+1), true)
		if err != nil {
			return false, err
		}
		right = bytes.Equal(bytes.ToLower(bytes.TrimSpace(word.Reveal())), m.Word(i)) && right
		word.Wipe()
	}
	return right, nil
}

// pick chooses n different numbers below limit, ascending.
func pick(n, limit int) ([]int, error) {
	var numbers []int
	for len(numbers) < n {
		i, err := rand.Int(rand.Reader, big.NewInt(int64(limit)))
		if err != nil {
			return nil, err
		}
		if !slices.Contains(numbers, int(i.Int64())) {
			numbers = append(numbers, int(i.Int64()))
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// derive adds keys to the secrets and signs their deposits. A key that is there
// already is an error: its deposit may have been made.
func (g *generation) derive(ctx context.Context, t *terminal, m mnemonic.Mnemonic, n *network.Network, secrets *holder.Secrets) ([]deposit.Data, error) {
	seed, err := m.Seed()
	defer seed.Wipe()
	if err != nil {
		return nil, err
	}
	tree, err := mnemonic.NewTree(seed)
	if err != nil {
		return nil, err
	}
	defer tree.Wipe()
	progress := t.counter("derived")
	var deposits []deposit.Data
	for i := range g.count {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		index := uint32(g.start) + uint32(i)
		d, err := g.deposit(tree.SigningKey(index), n, secrets)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", mnemonic.Path(index), err)
		}
		deposits = append(deposits, d)
		progress.update(i+1, g.count)
	}
	return deposits, nil
}

// deposit adds one key and signs its deposit.
func (g *generation) deposit(scalar secret.Bytes, n *network.Network, secrets *holder.Secrets) (deposit.Data, error) {
	key, err := bls.NewSecretKey((*[32]byte)(scalar.Reveal()))
	if err != nil {
		return deposit.Data{}, err
	}
	defer key.Wipe()
	if !secrets.Add(holder.Validator{PublicKey: key.PublicKey(), Scalar: scalar}) {
		scalar.Wipe()
		return deposit.Data{}, withHint(fmt.Errorf("key %v is in the folder already", key.PublicKey()), "--start names the first index that is new")
	}
	return deposit.Sign(key, g.credentials, g.gwei, n)
}

// store keeps the keys, and then writes their deposits: a deposit for a key that
// was lost would be lost too.
func (g *generation) store(t *terminal, folder *holder.Folder, secrets *holder.Secrets, deposits []deposit.Data) error {
	data, err := json.Marshal(deposits)
	if err != nil {
		return err
	}
	if err := folder.SetSecrets(secrets); err != nil {
		return err
	}
	if err := holder.CreateFile(g.deposits, append(data, '\n'), 0o644); err != nil {
		return withHint(err, "the keys are in the folder; derive them again from the mnemonic for their deposit data, after \"keys remove\"")
	}
	for i, d := range deposits {
		fmt.Fprintf(t.stdout, "%s %v\n", mnemonic.Path(uint32(g.start)+uint32(i)), d.PublicKey)
	}
	fmt.Fprintf(t.stdout, "%d deposits, to be withdrawn to %v only, are in %s\n", len(deposits), g.to, filepath.ToSlash(g.deposits))
	fmt.Fprintf(t.stdout, "deposit only once the signer runs with these keys\n")
	return nil
}

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"holdfast/verify/pcrs"
	"holdfast/verify/report"
	"holdfast/verify/sshsig"
)

// signHint says how a signature is made.
const signHint = "ssh-keygen -Y sign -f KEY -n " + pcrs.Namespace + " PCRS.md"

// readSignature reads the signature beside a PCRS.md.
func readSignature(pcrsFile string) ([]byte, error) {
	signature, err := readBounded(pcrsFile+".sig", sshsig.MaxSize)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errorWithHint(int(report.Signature), err, "--signers asks for a signature; to make one: "+signHint)
	}
	return signature, err
}

// verifySignature checks the signature of a PCRS.md and returns who signed.
func verifySignature(measurements, signature []byte, signersFile string, at time.Time) (signer string, err error) {
	data, err := readBounded(signersFile, sshsig.MaxSignersSize)
	if err != nil {
		return "", err
	}
	signers, err := sshsig.ParseSigners(data)
	if err != nil {
		return "", fmt.Errorf("%s: %w", signersFile, err)
	}
	if signer, err = sshsig.Verify(measurements, signature, pcrs.Namespace, signers, at); err != nil {
		return "", errorWithHint(int(report.Signature), fmt.Errorf("PCRS.md: %w", err), "whoever can change PCRS.md decides which enclaves are accepted")
	}
	return signer, nil
}

// verifySignatureOf checks the signature beside a PCRS.md.
func verifySignatureOf(pcrsFile, signersFile string) (signer string, err error) {
	measurements, err := readMeasurements(pcrsFile)
	if err != nil {
		return "", err
	}
	signature, err := readSignature(pcrsFile)
	if err != nil {
		return "", err
	}
	return verifySignature(measurements, signature, signersFile, time.Now())
}

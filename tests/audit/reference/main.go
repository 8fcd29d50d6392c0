// Command reference checks a ledger's public files with the Go implementation that transparency logs were first
// written in (golang.org/x/mod/sumdb), so that our formats are not only what our own code says they are.
//
// It opens the checkpoint as a signed note, reads the tree through the authenticating tile reader, computes the tree
// hash, proves and checks inclusion of every record and consistency of every older size, hashes entry bundles when
// there are any, checks a proof that our command made, and a witness's cosignature. One JSON object says what was
// checked; anything wrong ends it with exit code 1.
package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const tileHeight = 8

// tiles reads C2SP tlog-tiles, whose paths lack the height that the Go module mirror writes.
type tiles struct{ dir string }

func (t tiles) Height() int                         { return tileHeight }
func (t tiles) SaveTiles(_ []tlog.Tile, _ [][]byte) {}

func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var found [][]byte
	for _, tile := range wanted {
		data, err := os.ReadFile(filepath.Join(t.dir, path(tile, strconv.Itoa(tile.L))))
		if err != nil && tile.W < 1<<tileHeight {
			whole := tile
			whole.W = 1 << tileHeight
			data, err = os.ReadFile(filepath.Join(t.dir, path(whole, strconv.Itoa(tile.L))))
		}
		if err != nil {
			return nil, err
		}
		if len(data) < tile.W*tlog.HashSize {
			return nil, fmt.Errorf("tile %s is short", path(tile, strconv.Itoa(tile.L)))
		}
		found = append(found, data[:tile.W*tlog.HashSize])
	}
	return found, nil
}

func path(tile tlog.Tile, level string) string {
	parts := strings.SplitN(tile.Path(), "/", 4) // tile, height, level, index
	return filepath.Join("tile", level, parts[3])
}

// cosigner verifies C2SP cosignature/v1, which sumdb/note does not know.
type cosigner struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func (c cosigner) Name() string    { return c.name }
func (c cosigner) KeyHash() uint32 { return c.hash }

func (c cosigner) Verify(msg, sig []byte) bool {
	if len(sig) != 8+ed25519.SignatureSize {
		return false
	}
	signed := fmt.Sprintf("cosignature/v1\ntime %d\n%s", binary.BigEndian.Uint64(sig), msg)
	return ed25519.Verify(c.key, []byte(signed), sig[8:])
}

func newCosigner(vkey string) (cosigner, error) {
	parts := strings.SplitN(strings.TrimSpace(vkey), "+", 3)
	if len(parts) != 3 {
		return cosigner{}, fmt.Errorf("not a verifier key")
	}
	raw, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(raw) != 33 || raw[0] != 4 {
		return cosigner{}, fmt.Errorf("not an Ed25519 cosigner key")
	}
	sum := sha256.Sum256(append([]byte(parts[0]+"\n"), raw...))
	if hex.EncodeToString(sum[:4]) != parts[1] {
		return cosigner{}, fmt.Errorf("key id does not belong to the key")
	}
	return cosigner{parts[0], binary.BigEndian.Uint32(sum[:4]), ed25519.PublicKey(raw[1:])}, nil
}

type proof struct {
	Seq         int64    `json:"seq"`
	Size        int64    `json:"size"`
	Leaf        string   `json:"leaf_hash"`
	Record      string   `json:"record"`
	Inclusion   []string `json:"inclusion"`
	Checkpoint  string   `json:"checkpoint"`
	OldSize     int64    `json:"old_size"`
	OldRoot     string   `json:"old_root"`
	Consistency []string `json:"consistency"`
}

func must(err error, what string) {
	if err != nil {
		log.Fatalf("%s: %v", what, err)
	}
}

func unhex(text string) tlog.Hash {
	var hash tlog.Hash
	raw, err := hex.DecodeString(text)
	must(err, "hash")
	if copy(hash[:], raw) != tlog.HashSize {
		log.Fatal("hash of another length")
	}
	return hash
}

func unhexAll(texts []string) []tlog.Hash {
	var found []tlog.Hash
	for _, text := range texts {
		found = append(found, unhex(text))
	}
	return found
}

// open returns the tree of a checkpoint that every given verifier signed.
func open(text []byte, verifiers ...note.Verifier) tlog.Tree {
	signed, err := note.Open(text, note.VerifierList(verifiers...))
	must(err, "checkpoint")
	if len(signed.Sigs) != len(verifiers) {
		log.Fatalf("checkpoint: wanted %d signatures, got %d", len(verifiers), len(signed.Sigs))
	}
	lines := strings.Split(signed.Text, "\n")
	if len(lines) < 4 || lines[0] != verifiers[0].Name() {
		log.Fatal("checkpoint: not of this log")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	must(err, "checkpoint size")
	root, err := tlog.ParseHash(lines[2])
	must(err, "checkpoint root")
	return tlog.Tree{N: size, Hash: root}
}

func entries(dir string, tree tlog.Tree, leaf func(int64) tlog.Hash) int64 {
	if _, err := os.Stat(filepath.Join(dir, "tile", "entries")); err != nil {
		return 0
	}
	var seq int64
	for first := int64(0); first < tree.N; first += 1 << tileHeight {
		tile := tlog.Tile{H: tileHeight, L: 0, N: first >> tileHeight, W: 1 << tileHeight}
		if tree.N-first < 1<<tileHeight {
			tile.W = int(tree.N - first)
		}
		data, err := os.ReadFile(filepath.Join(dir, path(tile, "entries")))
		must(err, "entry bundle")
		for n := 0; n < tile.W; n++ {
			if len(data) < 2 || len(data) < 2+int(binary.BigEndian.Uint16(data)) {
				log.Fatal("entry bundle is short")
			}
			length := int(binary.BigEndian.Uint16(data))
			if tlog.RecordHash(data[2:2+length]) != leaf(seq) {
				log.Fatalf("entry %d is not the record of its leaf", seq)
			}
			data = data[2+length:]
			seq++
		}
		if len(data) != 0 {
			log.Fatal("entry bundle is long")
		}
	}
	return seq
}

func main() {
	log.SetFlags(0)
	dir := flag.String("log", "", "folder with checkpoint and tile/")
	vkey := flag.String("vkey", "", "the log's verifier key")
	proofFile := flag.String("proof", "", "a proof that `enclave audit prove` made")
	witness := flag.String("witness", "", "a cosigner's verifier key")
	cosigned := flag.String("cosigned", "", "the checkpoint that it cosigned")
	every := flag.Int64("every", 1, "check each n-th record and older size")
	flag.Parse()

	verifier, err := note.NewVerifier(strings.TrimSpace(*vkey))
	must(err, "verifier key")
	text, err := os.ReadFile(filepath.Join(*dir, "checkpoint"))
	must(err, "checkpoint")
	tree := open(text, verifier)
	reader := tlog.TileHashReader(tree, tiles{*dir})
	hash, err := tlog.TreeHash(tree.N, reader)
	must(err, "tree hash")
	if hash != tree.Hash {
		log.Fatal("tree hash: another root than the signed one")
	}
	leaf := func(seq int64) tlog.Hash {
		found, err := reader.ReadHashes([]int64{tlog.StoredHashIndex(0, seq)})
		must(err, "leaf hash")
		return found[0]
	}
	told := map[string]int64{"size": tree.N}
	for seq := int64(0); seq < tree.N; seq += *every {
		path, err := tlog.ProveRecord(tree.N, seq, reader)
		must(err, "inclusion")
		must(tlog.CheckRecord(path, tree.N, tree.Hash, seq, leaf(seq)), "inclusion")
		told["inclusions"]++
	}
	for size := int64(1); size <= tree.N; size += *every {
		older, err := tlog.TreeHash(size, reader)
		must(err, "older tree")
		path, err := tlog.ProveTree(tree.N, size, reader)
		must(err, "consistency")
		must(tlog.CheckTree(path, tree.N, tree.Hash, size, older), "consistency")
		told["consistencies"]++
	}
	told["entries"] = entries(*dir, tree, leaf)
	if *proofFile != "" {
		checkOurs(*proofFile, verifier)
		told["proofs"]++
	}
	if *witness != "" {
		key, err := newCosigner(*witness)
		must(err, "witness")
		text, err := os.ReadFile(*cosigned)
		must(err, "cosigned checkpoint")
		told["cosigned"] = open(text, verifier, key).N
	}
	must(json.NewEncoder(os.Stdout).Encode(told), "output")
}

func checkOurs(file string, verifier note.Verifier) {
	data, err := os.ReadFile(file)
	must(err, "proof")
	var ours proof
	must(json.NewDecoder(bytes.NewReader(data)).Decode(&ours), "proof")
	tree := open([]byte(ours.Checkpoint), verifier)
	if tlog.RecordHash([]byte(ours.Record)) != unhex(ours.Leaf) {
		log.Fatal("proof: the record is not the one of the leaf hash")
	}
	must(tlog.CheckRecord(unhexAll(ours.Inclusion), tree.N, tree.Hash, ours.Seq, unhex(ours.Leaf)), "our inclusion proof")
	if ours.OldSize > 0 {
		must(tlog.CheckTree(unhexAll(ours.Consistency), tree.N, tree.Hash, ours.OldSize, unhex(ours.OldRoot)),
			"our consistency proof")
	}
}

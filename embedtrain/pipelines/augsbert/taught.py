"""What a bi-encoder says of all texts of the silver pairs, for a student that learns every similarity of a batch."""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from embedtrain.files import sha256_of_file, write_parquet
from embedtrain.pipelines.augsbert.choosing import Teacher
from embedtrain.pipelines.augsbert.members import Member
from embedtrain.pipelines.augsbert.sampling import CANDIDATES
from embedtrain.pipelines.augsbert.teaching import member_fingerprint
from embedtrain.pipelines.augsbert.workspace import PAIR, Workspace
from embedtrain.pipelines.mine.encoding import encode_texts
from embedtrain.training.taught import TaughtTexts

EMBEDDINGS, TEXTS = "embeddings.npy", "texts.parquet"
# The folder of the run that keeps what is not done.
SHARDS = "embeddings"


def embed(work: Workspace, teacher: Teacher) -> None:
    """Let every member of the teacher embed the texts of the new pairs; what a killed process has done is kept."""
    candidates = work.run.path("sample", CANDIDATES)
    for member in teacher.members:
        shards = work.run.folder / SHARDS / member.slug

        def fill(folder: Path, member: Member = member, shards: Path = shards) -> None:
            texts = pd.unique(pd.read_parquet(candidates, columns=PAIR).to_numpy(dtype=object).ravel()).tolist()
            made = encode_texts(
                texts,
                work.trained(member.stage),
                device=work.device,
                precision=work.precision,
                engine="local",
                folder=shards,
            )
            np.save(folder / EMBEDDINGS, made / np.maximum(np.linalg.norm(made, axis=1, keepdims=True), 1e-12))
            write_parquet(folder / TEXTS, pd.DataFrame({"text": texts}))

        used = {"teacher": member_fingerprint(work, member), "candidates": sha256_of_file(candidates)}
        work.run.stage(_stage(member), inputs=used, work=fill)


def taught_texts(work: Workspace, teacher: Teacher) -> TaughtTexts:
    """The teacher's embeddings of the texts; the cosine of those of several members is the mean of the members'."""
    parts = [_kept(work, member)[1] for member in teacher.members]
    texts, _ = _kept(work, teacher.members[0])
    return TaughtTexts(texts, parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1))


def embedding_hash(work: Workspace, member: Member) -> dict[str, str]:
    """What depends on a member's embeddings depends on this."""
    return {f"embeddings of {member.name}": sha256_of_file(work.run.path(_stage(member), EMBEDDINGS))}


def cosines_of_candidates(work: Workspace, member: Member) -> NDArray[np.float32]:
    """A member's cosine of each new pair, (pairs,)."""
    texts, embeddings = _kept(work, member)
    rows = TaughtTexts(texts, embeddings).of(pd.read_parquet(work.run.path("sample", CANDIDATES), columns=PAIR)).numbers
    parts = [
        np.einsum("pd,pd->p", embeddings[some[:, 0]], embeddings[some[:, 1]], dtype=np.float64)
        for some in np.array_split(rows, max(1, len(rows) // 8192))
    ]
    return np.concatenate(parts).astype(np.float32)


def _kept(work: Workspace, member: Member) -> tuple[list[str], NDArray[np.float32]]:
    texts = pd.read_parquet(work.run.path(_stage(member), TEXTS))["text"].tolist()
    return texts, np.load(work.run.path(_stage(member), EMBEDDINGS), mmap_mode="r")


def _stage(member: Member) -> str:
    return f"embed_{member.slug}"

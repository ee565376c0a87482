"""Folders of images that several processes read."""

import multiprocessing

from tests.helpers.images import load_images


def _load_digest(folder, start, results):
    start.wait()
    results.put(load_images("cifar10", folder).digest)


def test_image_folder_read_by_two_runs_together(folder):
    context = multiprocessing.get_context("spawn")
    start, results = context.Event(), context.Queue()
    processes = [context.Process(target=_load_digest, args=(folder, start, results)) for _ in range(2)]
    for process in processes:
        process.start()
    start.set()
    digests = {results.get(timeout=60) for _ in processes}
    for process in processes:
        process.join()
    assert digests == {load_images("cifar10", folder).digest}
    assert not [path for path in folder.iterdir() if path.name.startswith(".cache-folder.npz.")]

"""One array written in every format that holds arrays, by the libraries of the formats themselves."""

import fsspec
import h5py
import numpy as np
import safetensors.numpy
import zarr

CHUNK = (3, 2, 2)  # fits into no length of the arrays that are written


def chunk(x):
    return tuple(min(a, b) for a, b in zip(CHUNK, x.shape, strict=False))


def npy_c(path, x):
    np.save(path, np.asarray(x, order="C"))


def npy_f(path, x):
    np.save(path, np.asfortranarray(x))


def npy_big(path, x):
    np.save(path, x.astype(x.dtype.newbyteorder(">")))


def npz_stored(path, x):
    np.savez(path, x=x)


def npz_fortran(path, x):
    np.savez(path, x=np.asfortranarray(x))


def npz_packed(path, x):
    np.savez_compressed(path, x=x)


def npz_packed_fortran(path, x):
    np.savez_compressed(path, x=np.asfortranarray(x))


def safe(path, x):
    safetensors.numpy.save_file({"x": np.asarray(x, order="C")}, path)


def zarr_2(path, x):
    zarr.create_array(path, data=x, chunks=chunk(x), zarr_format=2)


def zarr_2_slashes(path, x):
    encoding = {"name": "v2", "separator": "/"}
    zarr.create_array(path, data=x, chunks=chunk(x), zarr_format=2, order="F", chunk_key_encoding=encoding)


def zarr_3(path, x):
    zarr.create_array(path, data=x, chunks=chunk(x))


def zarr_3_checked(path, x):
    zarr.create_array(path, data=x, chunks=chunk(x), compressors=zarr.codecs.ZstdCodec(checksum=True))


def zarr_3_crc(path, x):
    zarr.create_array(path, data=x, chunks=chunk(x), compressors=zarr.codecs.Crc32cCodec())


def zarr_3_dots(path, x):
    encoding = {"name": "default", "separator": "."}
    zarr.create_array(path, data=x, chunks=chunk(x), chunk_key_encoding=encoding, compressors=None)


def zarr_shards(path, x):
    zarr.create_array(path, data=x, chunks=chunk(x), shards=tuple(2 * n for n in chunk(x)))


def zarr_big(path, x):
    zarr.create_array(path, data=x.astype(x.dtype.newbyteorder(">")), chunks=chunk(x), zarr_format=2)


def hdf5(path, x):
    with h5py.File(path, "w") as file:
        file["x"] = x


def hdf5_block(path, x):
    with h5py.File(path, "w", userblock_size=512) as file:
        file["x"] = x


def hdf5_big(path, x):
    with h5py.File(path, "w") as file:
        file["x"] = x.astype(x.dtype.newbyteorder(">"))


def hdf5_chunks(path, x):
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=x, chunks=chunk(x), maxshape=(None, *x.shape[1:]))


def hdf5_packed(path, x):
    with h5py.File(path, "w", libver="latest") as file:
        file.create_dataset("x", data=x, chunks=chunk(x), compression="gzip", shuffle=True, fletcher32=True)


SUFFIXES = {"npy": ".npy", "npz": ".npz", "safe": ".safetensors", "zarr": ".zarr", "hdf5": ".h5"}
WRITERS = [
    *(npy_c, npy_f, npy_big, npz_stored, npz_fortran, npz_packed, npz_packed_fortran, safe),
    *(zarr_2, zarr_2_slashes, zarr_3, zarr_3_checked, zarr_3_crc, zarr_3_dots, zarr_shards, zarr_big),
    *(hdf5, hdf5_block, hdf5_big, hdf5_chunks, hdf5_packed),
]


def written(folder, writer, x, name="x"):
    """The path of a new file with ``x``."""
    path = folder / f"{name}{SUFFIXES[writer.__name__.partition('_')[0]]}"
    writer(path, x)
    return path


def read(path, key="x"):
    """The array of a file, as the library of its format reads it."""
    match path.suffix:
        case ".npy":
            return np.load(path)
        case ".safetensors":
            return safetensors.numpy.load_file(path)[key]
        case ".zarr":
            found = zarr.open(path, mode="r")
            return (found if isinstance(found, zarr.Array) else found[key])[:]
        case ".h5":
            with h5py.File(path, "r") as file:
                return file[key][:]


def upload(path, url):
    """Copy a file or store to a URL."""
    fsspec.filesystem("memory").put(str(path), url, recursive=True)
    return url

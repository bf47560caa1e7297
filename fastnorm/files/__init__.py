"""Data larger than memory: files, folders and stores."""

from fastnorm.files._adapt import adapt_files
from fastnorm.files._normalize import normalize_files
from fastnorm.files._recover import recover
from fastnorm.files._report import write_report

__all__ = ["adapt_files", "normalize_files", "recover", "write_report"]

"""What a new user does wrong is answered with what to do instead."""

import re

import numpy as np
import pandas as pd
import pytest

from fastnorm import BatchNormalization, Moments, Normalization
from fastnorm.sklearn import StandardScaler

X = np.arange(12.0).reshape(4, 3) ** 2


def halves():
    return (X[start : start + 2] for start in (0, 2))


@pytest.mark.parametrize("learned", [X, pd.DataFrame(X)], ids=["array", "table"])
def test_numbered_columns_in_another_order_are_noticed(learned):
    """Columns 2, 0, 1 are not those of an array or of a table without names."""
    layer = Normalization().adapt(learned)
    with pytest.raises(ValueError, match="reordered '2', '0', '1'"):
        layer.transform(pd.DataFrame(X)[[2, 0, 1]])
    np.testing.assert_array_equal(layer(X), layer(pd.DataFrame(X)))
    np.testing.assert_array_equal(layer(X), layer(pd.DataFrame(X, columns=[7, 5, 6])))


def test_numbered_columns_learned_in_another_order_are_noticed():
    """Nor are columns 0, 1, 2 those of a table that had them as 2, 0, 1."""
    layer = Normalization().adapt(pd.DataFrame(X)[[2, 0, 1]])
    with pytest.raises(ValueError, match="reordered '0', '1', '2'"):
        layer.transform(pd.DataFrame(X))


def test_weights_that_are_all_zero_are_refused():
    """No row would count; a layer that has learned something stays as it was."""
    layer = Normalization().adapt(X)
    with pytest.raises(ValueError, match="weights that are all 0"):
        layer.adapt(X[:2], weights=[0, 0])
    assert Moments.of(X) == layer.moments
    assert Moments.of(X[:1]) == Normalization().adapt(X, weights=[1, 0, 0, 0]).moments - Moments.of(
        X[1:], weights=[0] * 3
    )


@pytest.mark.parametrize(
    ("name", "cure"),
    [("fit", "adapt(x)"), ("partial_fit", "update(x)"), ("mean_", "mean"), ("var_", "variance"), ("scale_", "std")],
)
def test_the_words_of_scikit_learn_lead_to_ours(name, cure):
    """The error names what to use, and there is no such attribute."""
    layer = Normalization()
    with pytest.raises(AttributeError, match=re.escape(f"has no {name}, which is scikit-learn's word; use {cure}")):
        getattr(layer, name)
    assert not hasattr(layer, name)
    assert not hasattr(layer, "nonsense")


@pytest.mark.parametrize("data", [(X, np.arange(4)), (X, np.arange(4), np.ones(4))], ids=["pair", "triple"])
def test_a_tuple_of_data_and_labels_is_no_two_batches(data):
    """Only an iterable of such tuples has batches."""
    with pytest.raises(ValueError, match=r"tuple of arrays with 1 and 2 axes.*pass x alone"):
        Normalization().adapt(data)
    assert Moments.of(X) == Normalization().adapt([data]).moments


@pytest.mark.parametrize("weights", [np.ones(4), [1.0] * 4, (1, 1, 1, 1)], ids=["array", "list", "tuple"])
def test_batches_want_batches_of_weights(weights):
    """One array of weights for all rows does not say where batches end."""
    with pytest.raises(ValueError, match="in batches, but weights is one array; give an iterable"):
        Normalization().adapt(halves(), weights=weights)
    assert 4 == Normalization().adapt(halves(), weights=[weights[:2], weights[2:]]).count


@pytest.mark.parametrize("policy", ["nan", "inf", "constant"])
def test_errors_name_the_column(policy):
    """A table's feature is called by its name."""
    table = pd.DataFrame(X, columns=list("abc"))
    table.loc[:, "b"] = {"nan": np.nan, "inf": np.inf, "constant": 1.0}[policy]
    with pytest.raises(ValueError, match=r"first (in )?feature 'b'"):
        Normalization(**{policy: "raise"}).adapt(table).transform(table)
    with pytest.raises(ValueError, match=r"first (in )?feature 1"):
        Normalization(**{policy: "raise"}).adapt(table.to_numpy()).transform(X)


@pytest.mark.parametrize("verb", ["transform", "inverse_transform"])
def test_the_wrong_width_for_a_scaler_is_said_as_scikit_learn_does(verb):
    """And without the numbers that were learned."""
    with pytest.raises(ValueError, match="X has 2 features, but StandardScaler is expecting 3 features as input"):
        getattr(StandardScaler().fit(X), verb)(X[:, :2])


def test_batch_normalization_of_a_table_is_a_table():
    """With the numbers of its array, the names and the index; other columns are refused."""
    table = pd.DataFrame(X, columns=list("abc"), index=list("wxyz"))
    layer, plain = BatchNormalization(), BatchNormalization()
    for training in (True, False):
        found = layer(table, training=training)
        pd.testing.assert_frame_equal(pd.DataFrame(plain(X, training=training), table.index, table.columns), found)
    assert tuple("abc") == layer.feature_names
    assert plain.moving_variance.tobytes() == layer.moving_variance.tobytes()
    with pytest.raises(ValueError, match="reordered 'b', 'a'"):
        layer(table[["b", "a", "c"]])
    with pytest.raises(TypeError, match="mask cannot go with a table"):
        layer(table, training=True, mask=[True] * 4)

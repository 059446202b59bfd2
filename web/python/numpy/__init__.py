"""The part of numpy that maspo_dsl asks for, in Python: for pages, where no numpy can be loaded without a network.

An array is a flat list with a shape; there are no views. Values are those of numpy but for the last bit of sums and of
elementary functions. tests/test_playground.py asks both the same.
"""

from math import e, inf, nan, pi

from numpy import random, typing
from numpy.arrays import asarray, broadcast_to, ndarray
from numpy.dtypes import bool_, dtype, float32, float64, int32, int64, int_
from numpy.elementwise import (
    abs,
    add,
    arctan,
    ceil,
    clip,
    cos,
    divide,
    equal,
    errstate,
    exp,
    floor,
    floor_divide,
    greater,
    greater_equal,
    isfinite,
    isinf,
    isnan,
    less,
    less_equal,
    log,
    log1p,
    logaddexp,
    logical_and,
    logical_not,
    logical_or,
    maximum,
    minimum,
    multiply,
    negative,
    not_equal,
    power,
    remainder,
    round,
    select,
    sign,
    sqrt,
    subtract,
    tanh,
    vectorize,
    where,
)
from numpy.making import (
    arange,
    array,
    ascontiguousarray,
    concatenate,
    empty,
    empty_like,
    full,
    linspace,
    meshgrid,
    ones,
    ones_like,
    r_,
    ravel,
    repeat,
    resize,
    stack,
    zeros,
    zeros_like,
)
from numpy.selecting import (
    all,
    allclose,
    any,
    argmax,
    argmin,
    argsort,
    bincount,
    count_nonzero,
    cumsum,
    extract,
    flatnonzero,
    max,
    min,
    put_along_axis,
    quantile,
    searchsorted,
    take_along_axis,
    unique,
)

__version__ = "0+python"
newaxis = None

"""Positions on the sky as points on the unit sphere, where neither RA 0/360 nor the poles are special."""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree


def unit_vectors(longitude, latitude, axis: int = -1) -> np.ndarray:
    """Return the points on the unit sphere in some directions.

    Parameters
    ----------
    longitude, latitude : array_like
        Right ascension and declination, or those of another frame [deg], any shape.
    axis : int
        The axis of the result along which the coordinates lie.

    Returns
    -------
    ndarray
        (…, 3) by default; NaN where a position is NaN.

    Examples
    --------
    >>> unit_vectors(90.0, 0.0).round(6).tolist()
    [0.0, 1.0, 0.0]
    """
    longitude, latitude = np.radians(longitude), np.radians(latitude)
    radius = np.cos(latitude)
    return np.stack([radius * np.cos(longitude), radius * np.sin(longitude), np.sin(latitude)], axis=axis)


def directions(vectors: np.ndarray) -> np.ndarray:
    """Return the directions of vectors of any length.

    Parameters
    ----------
    vectors : ndarray
        (…, 3).

    Returns
    -------
    ndarray
        (…, 2) longitude from 0 to 360, and latitude [deg].

    Examples
    --------
    >>> directions(np.array([0.0, -2.0, 0.0])).tolist()
    [270.0, 0.0]
    """
    x, y, z = np.moveaxis(vectors, -1, 0)
    return np.degrees(np.stack([np.arctan2(y, x) % (2 * np.pi), np.arctan2(z, np.hypot(x, y))], axis=-1))


def east_and_north(longitude, latitude) -> tuple[np.ndarray, np.ndarray]:
    """Return the unit vectors that point east and north at some places of the sky.

    Parameters
    ----------
    longitude, latitude : array_like
        The places [deg], any shape.

    Returns
    -------
    east, north : ndarray
        (…, 3) each.
    """
    longitude, latitude = np.radians(longitude), np.radians(latitude)
    east = np.stack([-np.sin(longitude), np.cos(longitude), np.zeros_like(longitude)], axis=-1)
    toward_pole = -np.sin(latitude)
    north = [toward_pole * np.cos(longitude), toward_pole * np.sin(longitude), np.cos(latitude)]
    return east, np.stack(north, axis=-1)


def chord(angle: float) -> float:
    """Return the distance in space of two points on the unit sphere that are an angle apart.

    Parameters
    ----------
    angle : float
        [radian]; a larger angle than π counts as π.

    Returns
    -------
    float
        From 0 to 2.
    """
    return 2 * np.sin(min(angle, np.pi) / 2)


def friends_of_friends(points: np.ndarray, link: float) -> np.ndarray:
    """Group points so that two of them are in one group if a chain of neighbours leads from one to the other.

    Parameters
    ----------
    points : ndarray
        (object, 3), from `unit_vectors`.
    link : float
        The largest angle between two neighbours [radian].

    Returns
    -------
    ndarray
        (object,) number of each point's group, counted from 0.

    Examples
    --------
    >>> friends_of_friends(unit_vectors([359.9, 0.0, 0.1, 5.0], np.zeros(4)), np.radians(0.2)).tolist()
    [0, 0, 0, 1]
    """
    pairs = cKDTree(points).query_pairs(chord(link), output_type="ndarray")
    links = coo_array((np.ones(len(pairs), bool), tuple(pairs.T)), shape=(len(points), len(points)))
    return connected_components(links, directed=False)[1]

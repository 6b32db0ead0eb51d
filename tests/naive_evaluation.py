"""The challenge's measures a second time, written from the definitions with loops and sets, for small masks.

Nothing is shared with the program, nothing is fast: voxels are tuples, lesions are sets of them, and every
distance is found by looking at all pairs.
"""

import math

NAN = math.nan

NAMES = """Jaccard Dice Sensitivity Specificity PPV NPV RelativeVolumeError
    HausdorffDistance ContourMeanDistance SurfaceDistance SurfaceDistanceAnima
    PPVL SensL F1_score NbTestedLesions VolTestedLesions"""
NAMES = NAMES.split()


def measures(prediction, truth, spacing, minimal_volume=3.0, alpha=0.10, beta=0.70, gamma=0.65):
    """Return every measure, under the tool's names; those that it does not print are nan."""
    result = dict.fromkeys(NAMES, NAN)
    voxel_volume = spacing[0] * spacing[1] * spacing[2]
    p, t = voxels_of(prediction), voxels_of(truth)
    if not t:
        lesions = lesions_of(p, voxel_volume, 3.0)
        result["NbTestedLesions"] = len(lesions)
        result["VolTestedLesions"] = sum(len(lesion) for lesion in lesions) * voxel_volume
        return result

    everywhere = truth.size
    tp, fp, fn = len(p & t), len(p - t), len(t - p)
    tn = everywhere - tp - fp - fn
    result["Jaccard"] = tp / (tp + fp + fn)
    result["Dice"] = 2 * result["Jaccard"] / (1 + result["Jaccard"])
    result["Sensitivity"] = tp / len(t)
    result["Specificity"] = tn / (tn + fp) if tn + fp else NAN
    result["PPV"] = tp / (tp + fp) if p else NAN
    result["NPV"] = tn / (tn + fn) if tn + fn else NAN
    result["RelativeVolumeError"] = 100 * (len(p) - len(t)) / len(t)

    true_lesions = lesions_of(t, voxel_volume, minimal_volume)
    predicted_lesions = lesions_of(p, voxel_volume, minimal_volume)
    found = [
        is_detected(lesion, true_lesions, predicted_lesions, alpha, beta, gamma) for lesion in true_lesions
    ]
    right = [
        is_detected(lesion, predicted_lesions, true_lesions, alpha, beta, gamma)
        for lesion in predicted_lesions
    ]
    sensl = result["SensL"] = sum(found) / len(found) if found else NAN
    ppvl = result["PPVL"] = sum(right) / len(right) if right else 0.0
    result["F1_score"] = 2 * ppvl * sensl / (ppvl + sensl) if ppvl + sensl > 0 else 0.0

    t_contour, p_contour = contour_of(t, truth.shape), contour_of(p, truth.shape)
    if t_contour and p_contour:
        t_distances = [nearest(voxel, p_contour, spacing) for voxel in t_contour]
        p_distances = [nearest(voxel, t_contour, spacing) for voxel in p_contour]
        result["HausdorffDistance"] = max(
            max(nearest(voxel, p, spacing) for voxel in t), max(nearest(voxel, t, spacing) for voxel in p)
        )
        result["ContourMeanDistance"] = max(mean(t_distances), mean(p_distances))
        result["SurfaceDistance"] = mean(t_distances + p_distances)
        result["SurfaceDistanceAnima"] = mean(never_reset(t_distances) + never_reset(p_distances))
    return result


def voxels_of(mask):
    x_size, y_size, z_size = mask.shape
    return {
        (x, y, z) for z in range(z_size) for y in range(y_size) for x in range(x_size) if mask[x, y, z] != 0
    }


def raster(voxel):
    x, y, z = voxel
    return z, y, x


def neighbours(voxel):
    x, y, z = voxel
    return [(x - 1, y, z), (x + 1, y, z), (x, y - 1, z), (x, y + 1, z), (x, y, z - 1), (x, y, z + 1)]


def lesions_of(voxels, voxel_volume, minimal_volume):
    """Return sets of voxels, by flooding from each voxel that no lesion has yet; large ones first."""
    least = math.floor(minimal_volume / voxel_volume) + 1
    lesions, left = [], set(voxels)
    for start in sorted(voxels, key=raster):
        if start not in left:
            continue
        left.remove(start)
        lesion, border = {start}, [start]
        while border:
            for neighbour in neighbours(border.pop()):
                if neighbour in left:
                    left.remove(neighbour)
                    lesion.add(neighbour)
                    border.append(neighbour)
        lesions.append(lesion)
    return sorted((lesion for lesion in lesions if len(lesion) >= least), key=len, reverse=True)


def is_detected(lesion, same_side, other_side, alpha, beta, gamma):
    overlap = sum(len(lesion & other) for other in other_side)
    if overlap / len(lesion) <= alpha:
        return False
    weight = 0.0
    for other in sorted(other_side, key=lambda other: len(lesion & other), reverse=True):
        if weight >= gamma:
            break
        if len(lesion & other) == 0:
            break
        if len(other.difference(*same_side)) / len(other) > beta:
            return False
        weight += len(lesion & other) / overlap
    return True


def contour_of(voxels, shape):
    def is_background(voxel):
        inside = all(0 <= place < size for place, size in zip(voxel, shape, strict=True))
        return inside and voxel not in voxels

    return [voxel for voxel in sorted(voxels, key=raster) if any(map(is_background, neighbours(voxel)))]


def nearest(voxel, others, spacing):
    return min(
        math.sqrt(sum(((a - b) * mm) ** 2 for a, b, mm in zip(voxel, other, spacing, strict=True)))
        for other in others
    )


def mean(values):
    return sum(values) / len(values)


def never_reset(distances):
    smallest, result = math.inf, []
    for distance in distances:
        smallest = min(smallest, distance)
        result.append(smallest)
    return result

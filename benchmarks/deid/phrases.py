"""What technologists and scanners write into descriptions, and technical attributes by modality: all of it may stay."""

from __future__ import annotations

PHRASES = {
    "CT": (
        "CT CHEST W CONTRAST", "CT ABDOMEN PELVIS WO", "CTA HEAD NECK", "LOW DOSE LUNG SCREENING", "CT TEMPORAL BONES",
        "CT UROGRAM EXCRETORY PHASE", "COR MPR 3mm", "AXIAL 1.25 HRCT LUNG", "CT LIVER TRIPHASIC", "PE PROTOCOL CTPA",
        "CT SINUS LIMITED", "TRAUMA WHOLE BODY", "CT L5-S1 MYELOGRAM", "CALCIUM SCORE GATED", "HODGKIN LYMPHOMA RESTAGING",
        "CT ENTEROGRAPHY PORTAL VENOUS", "KNEE FRACTURE FOLLOW UP", "CT COLONOGRAPHY PRONE", "SPIRAL ABD NATIV 5.0 B30f",
        "TOPOGRAM LAT", "RENAL STONE PROTOCOL", "PANCREAS MASS WITH CONTRAST", "ABD PEL 70 SEC VENOUS",
    ),
    "MR": (
        "MR BRAIN W WO CONTRAST", "AX T1 FLAIR", "SAG T2 FSE L5-S1", "CHIARI MALFORMATION CSF FLOW", "PROSTATE GLEASON 7 MPMRI",
        "AX DWI b1000 ADC", "COR STIR HIP", "PARKINSON DISEASE NEUROMELANIN", "3D TOF MRA COW", "SAG PD FAT SAT KNEE",
        "CINE SSFP 4 CHAMBER", "LGE PSIR SHORT AXIS", "MRCP THICK SLAB", "AX T2 TSE FS PELVIS", "T1 MPRAGE SAG POST GAD",
        "BREAST DYNAMIC SUBTRACTION", "AX SWI MIP", "SHOULDER ARTHROGRAM", "MR SPECTROSCOPY HIPPOCAMPUS",
    ),
    "PT": ("PET CT SKULL TO THIGH FDG", "WB AC 3D OSEM", "PSMA PET RESTAGING", "BRAIN AMYLOID PET", "CARDIAC RUBIDIUM STRESS"),
    "CR": ("XR CHEST PA LATERAL", "ANKLE 3 VIEWS LT", "SHUNT SERIES", "CHEST PORTABLE AP ERECT", "PANORAMIC", "FOOT WEIGHT BEARING"),
    "US": ("US ABDOMEN COMPLETE", "CAROTID DUPLEX BILATERAL", "THYROID NODULE", "OBSTETRIC SECOND TRIMESTER", "DVT LEG LEFT"),
    "SR": ("RADIATION DOSE REPORT", "MAMMO CAD REPORT", "MEASUREMENT REPORT"),
    "DOC": ("REPORT PDF",),
}  # fmt: skip
MAKERS = {
    "CT": (("SIEMENS", "SOMATOM Force", "syngo CT VA50A", "Br40d"), ("GE MEDICAL SYSTEMS", "Revolution CT", "revo_ct_22bc.50", "STANDARD"),
           ("Canon Medical Systems", "Aquilion ONE", "V10.6", "FC08"), ("Philips", "Ingenuity CT", "4.1.10", "YA")),
    "MR": (("SIEMENS", "MAGNETOM Skyra", "syngo MR E11", ""), ("GE MEDICAL SYSTEMS", "SIGNA Premier", "MR29.1", ""),
           ("Philips Medical Systems", "Achieva dStream", "5.6.1", "")),
    "PT": (("SIEMENS", "Biograph mCT", "VG70A", ""), ("GE MEDICAL SYSTEMS", "Discovery MI", "52.00", "")),
    "CR": (("FUJIFILM Corporation", "FDR D-EVO II", "A18-06", ""), ("Agfa", "DX-D 300", "NX 23", "")),
    "US": (("GE Healthcare", "LOGIQ E10", "R3.1.5", ""), ("Philips Medical Systems", "EPIQ 7G", "7.0.1", "")),
    "SR": (("SIEMENS", "syngo.via", "VB60A", ""),),
    "DOC": (("SIEMENS", "syngo.via", "VB60A", ""),),
}  # fmt: skip
REGIONS = ("CHEST", "ABDOMEN", "BRAIN", "KNEE", "PELVIS", "CSPINE", "LIVER", "HIP")
TECHNIQUE: dict[str, dict[str, object]] = {
    "CT": {
        "KVP": "120", "SliceThickness": "1.25", "PixelSpacing": ["0.703125", "0.703125"], "ExposureTime": "500",
        "XRayTubeCurrent": "210", "Exposure": "105", "PatientPosition": "HFS", "GantryDetectorTilt": "0",
        "RescaleIntercept": "-1024", "RescaleSlope": "1", "RescaleType": "HU", "WindowCenter": ["40", "-600"],
        "WindowWidth": ["400", "1500"], "SpiralPitchFactor": 0.95, "CTDIvol": 8.25, "FilterType": "BODY FILTER",
        "ScanOptions": "HELICAL MODE", "DataCollectionDiameter": "500", "FocalSpots": "1.2", "TableHeight": "150.5",
        "ImagePositionPatient": ["-180", "-180", "42.5"], "ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"],
        "RotationDirection": "CW", "ReconstructionDiameter": "360", "ContrastBolusAgent": "OMNIPAQUE 350",
    },
    "MR": {
        "EchoTime": "30", "RepetitionTime": "2800", "FlipAngle": "90", "MagneticFieldStrength": "3", "EchoTrainLength": "12",
        "ScanningSequence": ["SE", "IR"], "SequenceVariant": ["SK", "SP"], "MRAcquisitionType": "2D", "SequenceName": "*tse2d1_12",
        "ImagingFrequency": "123.25", "NumberOfAverages": "2", "PixelBandwidth": "195", "InversionTime": "1200",
        "ReceiveCoilName": "HeadNeck_64", "TransmitCoilName": "Body", "InPlanePhaseEncodingDirection": "ROW", "SAR": "0.12",
        "SpacingBetweenSlices": "4.4", "DiffusionBValue": 1000.0, "PercentSampling": "80", "ScanOptions": "FS",
        "ImagePositionPatient": ["4", "-80", "80"], "ImageOrientationPatient": ["0", "1", "0", "0", "0", "-1"],
        "PatientPosition": "HFS", "SliceThickness": "4", "PixelSpacing": ["0.5", "0.5"], "Laterality": "L",
    },
    "PT": {
        "Units": "BQML", "CountsSource": "EMISSION", "CorrectedImage": ["NORM", "DTIM", "ATTN", "SCAT", "DECY"],
        "DecayCorrection": "START", "SliceThickness": "3.27", "PixelSpacing": ["4.07", "4.07"], "RescaleSlope": "1.32",
        "ReconstructionMethod": "OSEM3D 4i24s", "RandomsCorrectionMethod": "DLYD", "PatientPosition": "HFS",
        "AttenuationCorrectionMethod": "CT-AC", "ImageIndex": 42, "FrameReferenceTime": "1500", "SeriesType": ["WHOLE BODY", "IMAGE"],
    },
    "CR": {"ViewPosition": "PA", "KVP": "125", "Exposure": "2", "PlateType": "ST-VI", "RelativeXRayExposure": "210", "Laterality": "R"},
    "US": {"TransducerType": "CURVED LINEAR", "HeartRate": "72", "UltrasoundColorDataPresent": 0, "MechanicalIndex": "1.1"},
    "SR": {"CompletionFlag": "COMPLETE", "VerificationFlag": "UNVERIFIED"},
    "DOC": {},
}  # fmt: skip

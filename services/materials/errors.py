"""What can go wrong at the doors of materials."""

from shared.errors import Invalid, NotFound, TooManyRequests


class UploadNotFound(NotFound):
    code = "upload.not-found"
    title_zh = "没有找到该附件"
    title_en = "There is no such upload"


class UploadTypeNotAllowed(Invalid):
    code = "upload.type-not-allowed"
    title_zh = "不支持的文件类型"
    title_en = "This type of file is not accepted"


class UploadTooManyPixels(Invalid):
    code = "upload.too-many-pixels"
    title_zh = "图片像素过多"
    title_en = "The picture has too many pixels"


class UploadEmpty(Invalid):
    code = "upload.empty"
    title_zh = "文件为空"
    title_en = "The file is empty"


class UploadLocked(Invalid):
    code = "upload.locked"
    title_zh = "文件无法打开或设有打开密码"
    title_en = "The file cannot be opened, or needs a password"


class UploadsUntaken(TooManyRequests):
    code = "upload.too-many-untaken"
    title_zh = "未使用的附件过多"
    title_en = "You have too many files that no application uses"

"""What can go wrong at the one door."""

from shared.errors import Conflict, Forbidden, Invalid, NotFound, TooManyRequests


class CaseNotFound(NotFound):
    code = "case.not-found"
    title_zh = "没有找到该办件"
    title_en = "There is no such case"


class NotYourApplication(Forbidden):
    code = "case.not-yours-to-file"
    title_zh = "只能为本人或经授权代办的人申请"
    title_en = "You can apply only for yourself or for somebody you may act for"


class NameDiffers(Conflict):
    """Whoever sends an application is called otherwise in it than where they were verified."""

    code = "case.name-differs"
    title_zh = "申请表中的姓名与登录人的姓名不一致"
    title_en = "The form calls you otherwise than your log-in does"


class AgentNotAllowed(Invalid):
    code = "case.agent-not-allowed"
    title_zh = "该事项不能由他人代办"
    title_en = "Nobody may act for this applicant in this matter"


class TooManyApplications(TooManyRequests):
    """One answer for every limit: whose it was would tell what others do."""

    code = "case.too-many-applications"
    title_zh = "今天的申请次数已达上限，请明天再试"
    title_en = "Too many applications today; try again tomorrow"


class IdenticalApplicationOpen(Conflict):
    """Told only to whoever may see that case; its number is the member `case`."""

    code = "case.identical-open"
    title_zh = "同一事项的申请正在办理"
    title_en = "An application in this matter is open already"


class ConsentNotNeeded(Conflict):
    code = "case.consent-not-needed"
    title_zh = "该办件现在不需要您的同意"
    title_en = "This case does not need your consent now"


class ConsentNotGiven(Conflict):
    code = "consent.not-given"
    title_zh = "没有可以撤回的同意"
    title_en = "There is no consent to take back"


class ConsentWithdrawnBefore(Conflict):
    """A repeated request must not bring back what its holder has taken back: that is an act of its own."""

    code = "consent.withdrawn"
    title_zh = "同意已撤回"
    title_en = "This consent was taken back"


class ConsentOver(Conflict):
    code = "consent.over"
    title_zh = "该办件已作出决定，不再查询证照；此前依法进行的查询不受影响"
    title_en = "The case is decided: nothing is read any more, and what was lawfully read before stays so"


class NotVerified(Forbidden):
    """A one-time code proves a phone, and no more."""

    code = "consent.not-verified"
    title_zh = "同意和撤回须以核验过的本人身份登录"
    title_en = "Consent is given and taken back under a log-in whose identity was verified"


class NotAtACounter(Forbidden):
    """Papers and people are seen at a counter, by an operator whose channel that is."""

    code = "consent.not-at-a-counter"
    title_zh = "只有窗口可以登记代理授权和撤回"
    title_en = "Only a counter records what somebody agrees to for another, or takes back"


class NothingAsked(Conflict):
    code = "case.nothing-asked"
    title_zh = "当前没有需要补正的材料"
    title_en = "Nothing is asked of you in this case at present"


class NotAskedFor(Invalid):
    code = "case.material-not-asked"
    title_zh = "提交的材料不在补正清单内"
    title_en = "This material was not asked for"


class TooManyLookups(TooManyRequests):
    code = "case.too-many-lookups"
    title_zh = "查询次数过多，请稍后再试"
    title_en = "Too many look-ups; try again later"


class UploadNotYours(Invalid):
    code = "case.upload-not-yours"
    title_zh = "附件不存在或不属于您"
    title_en = "An upload is not there, or is not yours"


class UploadTypeWrong(Invalid):
    code = "case.upload-type-wrong"
    title_zh = "附件的文件类型不符合该材料的要求"
    title_en = "An upload is not of a type that its material takes"


class ContactNotFound(NotFound):
    code = "contact.not-found"
    title_zh = "没有找到该联系方式"
    title_en = "There is no such contact"


class ContactWrong(Invalid):
    """Nothing can be sent to it; the field says why."""

    code = "contact.invalid"
    title_zh = "联系方式有误"
    title_en = "This contact is not right"


class ContactVouched(Conflict):
    """It would come back with the next log-in."""

    code = "contact.vouched"
    title_zh = "该联系方式来自统一身份认证，请在那里修改"
    title_en = "This contact comes from the log-in service; change it there"


class TooManyContacts(Conflict):
    code = "contact.too-many"
    title_zh = "联系方式已达上限，请先删除一个"
    title_en = "You have as many contacts as can be kept; remove one first"


class KindNotVerified(Conflict):
    """No one-time codes are sent to contacts of this kind here."""

    code = "contact.kind-not-verified"
    title_zh = "这类联系方式暂不能验证"
    title_en = "Contacts of this kind cannot be verified here"


class TooManyCodes(TooManyRequests):
    code = "contact.too-many-codes"
    title_zh = "验证码发送过于频繁，请稍后再试"
    title_en = "Too many codes were asked for; try again later"


class CodeWrong(Invalid):
    code = "contact.code-wrong"
    title_zh = "验证码不正确"
    title_en = "This is not the code"


class CodeOver(Conflict):
    """It is too old, was tried too often or used, or has not been sent yet."""

    code = "contact.code-over"
    title_zh = "验证码已失效，请重新获取"
    title_en = "This code is no longer good; ask for a new one"


class StopCodeUnknown(NotFound):
    code = "notice.stop-code-unknown"
    title_zh = "没有这个停发码"
    title_en = "There is no such stop code"


class AccountWrong(Invalid):
    """What an account is to be, its kind does not allow; the details say what."""

    code = "account.invalid"
    title_zh = "账号信息有误"
    title_en = "This account cannot be so"


class ClientKeyWrong(Invalid):
    """What is given as a client program's public key is none that we take; the details say why."""

    code = "client-key.invalid"
    title_zh = "公钥无法使用"
    title_en = "This public key cannot be used"


class ClientKeyNotFound(NotFound):
    code = "client-key.not-found"
    title_zh = "该客户端没有这个公钥"
    title_en = "This client program has no such key"


class NoAccount(Forbidden):
    """The identity provider knows them, and nobody has said here what they may do."""

    code = "account.not-open"
    title_zh = "该账号尚未开通或已停用"
    title_en = "This account is not open here"
